"""The pure parts of the search: flags, trials, how samples and answers are judged, the file and the table."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import trim_mean as scipy_trim_mean

from export.engine_search import main
from export.files import BadInputError
from export.search_judge import count_layers, find_contradiction, judge_answers, rate_batches
from export.search_plan import combine, list_trials
from export.search_records import append, find_done, read_records
from export.search_table import find_best, to_markdown

VALUES = {
    "profile": ["128-512-2048", "512"], "optimization_level": [3, 4, 5], "timing_iterations": [1],
    "tactic_sources": ["default", "own"], "stem": ["plain", "folded"],
    "input_layout": ["nchw"], "quantized": [None],
}  # fmt: skip


def test_trials_change_one_factor_at_a_time():
    """As many as there are values, less one for each factor, and the first."""
    first, *others = list_trials(VALUES)
    assert len(others) == 5
    for trial in others:
        assert sum(value != asdict(trial)[factor] for factor, value in asdict(first).items()) == 1
    assert list_trials({**VALUES, "optimization_level": [3, 3, 3]})[1:] == [
        t for t in others if t.optimization_level == 3
    ]


def test_the_best_value_of_each_factor_is_taken():
    """A trial without a rate lends nothing; of equal rates the first value stays."""
    first, static, level4, level5, own, folded = trials = list_trials(VALUES)
    rates = {first: 100.0, static: 90.0, level4: 110.0, own: 100.0, folded: 120.0}
    assert combine(trials, rates) == replace(first, optimization_level=4, stem="folded")
    assert combine(trials, {level5: 1.0}) == level5
    assert combine(trials, {}) is None


def test_the_mean_leaves_out_a_tenth_at_either_end():
    """As SciPy has it."""
    samples = np.random.default_rng(0).gamma(2.0, size=137).tolist()
    assert rate_batches({"1": samples})["1"]["mean_ms"] == pytest.approx(scipy_trim_mean(samples, 0.1))
    assert rate_batches({"256": [2.0] * 5})["256"] == {
        "mean_ms": 2.0, "std_ms": 0.0, "samples": 5, "images_per_s": 128_000,
    }  # fmt: skip


def test_the_worst_batch_size_is_judged():
    """Right at batch 2, wrong at batch 4; not a number is never right, and is written as null."""
    reference = np.eye(4, 3, dtype=np.float32)
    labels = np.array([0, 1, 2, 1])
    right = judge_answers({"2": reference[:2], "4": reference}, reference, labels, "fp16")
    assert (right["reason"], right["parity"]["images"], right["accuracy"]) == (None, 4, 0.75)
    wrong = judge_answers({"2": reference[:2], "4": reference * 1.1}, reference, labels, "fp16")
    assert wrong["reason"] == "at batch 4: rel_l2 0.1 is above 0.02"
    lost = judge_answers({"2": reference[:2] * np.nan, "4": reference}, reference, labels, "fp16")
    assert lost["parity"]["rel_l2"] is None
    assert lost["reason"].startswith("at batch 2: rel_l2 nan")


def test_the_top_class_of_synthetic_images_means_nothing():
    """Only the distance judges them."""
    reference = np.full((4, 3), 1.0, np.float32)
    shifted = reference + np.float32([0, 0.001, 0])
    assert judge_answers({"4": shifted}, reference, None, "fp16")["reason"] is None
    assert "top1_agreement" in judge_answers({"4": shifted}, reference, np.zeros(4), "fp16")["reason"]


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Half", "fp16"),
        ("Row major linear FP32", "fp32"),
    ],
)
def test_layers_are_counted_by_what_they_read(words, dtype):
    """As the inspectors of TensorRT 8.6 and 10 say it; copies and pooling do not compute."""
    convolution = {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": words}]}
    others = [{"LayerType": "Reformat", "Inputs": [{"Format/Datatype": "FP32"}]}, {"LayerType": "CaskPooling"}]
    counts = count_layers([convolution, convolution, *others])
    assert counts["compute_dtypes"] == {dtype: 2}
    assert counts["layer_types"] == {"CaskConvolution": 2, "CaskPooling": 1, "Reformat": 1}
    assert count_layers(["a name"]) == {"compute_dtypes": {}, "layer_types": {}}


@pytest.mark.parametrize(("name", "precision"), [("fp16", "fp16"), ("int8", "int8"), ("int8_pooled", "int8")])
def test_layers_of_an_engine_recorded_on_a_gpu_are_counted(name, precision):
    """TensorRT 8.6 tells no tensor's type of a dynamic batch; the weights' do."""
    recorded = json.loads((Path(__file__).parents[1] / "fixtures" / "tensorrt86_inspector.json").read_text())
    counts = count_layers(recorded[name]["Layers"])["compute_dtypes"]
    assert counts == {precision: 21}
    assert find_contradiction(counts, precision) is None


def test_layers_of_another_precision_contradict_the_label():
    """One in ten may be kept in a wider type."""
    assert find_contradiction({"fp16": 1, "int8": 20}, "int8") is None
    assert find_contradiction({}, "int8") is None
    reason = "compute layers ran as 3 fp16, 18 int8, not int8"
    assert find_contradiction({"fp16": 3, "int8": 18}, "int8") == reason


def make_record(trial=None, **changes):
    record = {
        "started_at": "2026-11-25T10:00:00+00:00", "arch": "resnet18", "image_size": 224, "precision": "fp16",
        "seconds": 2.0, "gpu": "a GPU", "tensorrt": "8.6.0", "onnx_sha256": "0", "samples_sha256": "1",
        **asdict(trial or list_trials(VALUES)[0]), "batch_sizes": [128, 512], "max_build_seconds": 600.0,
        "reference_accuracy": 0.9, "status": "ok", "reason": None, "build_s": 40.0, "timing_cache": "cold",
        "engine_bytes": 24_000_000, "images_per_s": 1234.4, "batch_size": 512, "accuracy": 0.875,
        "batches": {"128": {"images_per_s": 1000.0}, "512": {"images_per_s": 1234.4}},
        "parity": {"rel_l2": 0.002, "top1_agreement": 1.0}, "compute_dtypes": {"fp16": 21}, **changes,
    }  # fmt: skip
    if record["status"] in ("refused", "timeout"):
        for name in ("build_s", "timing_cache", "engine_bytes", "images_per_s", "batches", "parity", "accuracy"):
            del record[name]
    return record


def test_the_table_has_every_trial_once_and_the_best_in_bold():
    """A wrong one is never bold, however fast; a refused one gives its reason; a repeated one is replaced."""
    first, static, level4, level5, *_ = list_trials(VALUES)
    records = [
        make_record(first, images_per_s=1.0),
        make_record(first),
        make_record(static, status="wrong", reason="rel_l2 3 is above 0.02", images_per_s=9999.0),
        make_record(level4, images_per_s=1300.0),
        make_record(level5, status="refused", reason="a | b"),
    ]
    caption, _, head, _, *rows = to_markdown(records).strip().split("\n")
    assert caption == "resnet18 224 px, fp16, a GPU, TensorRT 8.6.0, 2026-11-25; images/s; accuracy in fp32 90.0%."
    assert "Q-DQ" not in head
    assert len(rows) == 4
    assert rows[0] == (
        "| 128-512-2048 | 3 | 1 | default | plain | nchw | 40.0 | cold | 24.0 | 1,000 | 1,234 | 1,234 | 87.5% "
        "| 2.0e-03 | 100.0% | 21 fp16 |  |"
    )
    assert rows[1].endswith("| 9,999 | 87.5% | 2.0e-03 | 100.0% | 21 fp16 | wrong: rel_l2 3 is above 0.02 |")
    assert "| **1,300** |" in rows[2]
    assert rows[3].endswith("| refused: a \\| b |")
    assert {row.replace("\\|", "").count("|") for row in [head, *rows]} == {head.count("|")}
    assert find_best(records[2:3]) is None


def test_tables_are_apart_where_networks_or_machines_differ():
    """Rates of two GPUs do not compare."""
    assert to_markdown([make_record(), make_record(gpu="another GPU")]).count("| profile |") == 2


def test_a_trial_is_known_by_its_settings(tmp_path):
    """The latest counts; one given up counts only against no more time."""
    path = tmp_path / "search.jsonl"
    assert read_records(path) == []
    trial = list_trials(VALUES)[1]
    append(path, make_record(trial, status="timeout", reason="not built in 600 s"))
    records = read_records(path)
    identity = {**asdict(trial), "onnx_sha256": "0", "batch_sizes": [128, 512]}
    assert find_done(records, identity, 600) == records[0]
    assert find_done(records, identity, 900) is None
    assert find_done(records, {**identity, "onnx_sha256": "2"}, 600) is None


def test_trials_from_before_layouts_were_tried_are_of_the_first(tmp_path):
    """Their files are gone on with."""
    trial = list_trials(VALUES)[0]
    record = make_record(trial)
    del record["input_layout"]
    (tmp_path / "search.jsonl").write_text(json.dumps(record) + "\n")
    (read,) = read_records(tmp_path / "search.jsonl")
    assert find_done([read], asdict(trial), 600) == make_record(trial)


@pytest.mark.parametrize("line", ["{", "[]", "{}", "3"])
def test_a_line_that_is_no_trial_is_named(tmp_path, line):
    """By its number, with the mend."""
    path = tmp_path / "search.jsonl"
    path.write_text(f"{json.dumps(make_record())}\n{line}\n")
    with pytest.raises(BadInputError, match=r"^--output: line 2 of .*search.jsonl is no trial of a search; delete it$"):
        read_records(path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--profiles", "[8-4-1]"], "--profiles: 8-4-1 must ascend from 1"),
        (["--profiles", "[64]"], "--profiles: 64 holds none of --batch_sizes [128, 256, 512, 1024, 2048]"),
        (["--optimization_levels", "[6]"], "--optimization_levels: [6]; give levels from 0 to 5"),
        (["--timing_iterations", "[0]"], "--timing_iterations: [0]; give more than 0"),
        (["--stems", "[]"], "--stems: empty"),
        (["--stems", "[square]"], "--stems"),
        (["--quantized", "[everything]"], "--quantized"),
        (["--seconds", "0"], "--seconds: 0.0; give more than 0"),
        (["--output", "found.txt"], "--output: found.txt; give a file that ends in .jsonl"),
    ],
)
def test_bad_flags_are_one_line(capsys, flags, said):
    """Exit status 2, naming the flag."""
    with pytest.raises(SystemExit) as stop:
        main(flags)
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert said in err
