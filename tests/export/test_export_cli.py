"""`python -m export`: what is kept, what is made again, what is never replaced, and what bad input looks like."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision

from export import pipeline
from export.__main__ import main
from tests.stage_process import run_stage


class Opens:
    """A pickle that would create a file if it were executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return (os.mkdir, (str(self.path),))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("python -m export: ")
    return captured.err


def redescribe(weights: Path, **fields: object) -> None:
    file = weights.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_second_export_keeps_everything_and_says_so(exported, capsys) -> None:
    before = exported.everything()
    assert exported.export() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split(": ")[0]).name for line in lines] == [
        "resnet18_64.npz",
        "resnet18_64_fp32.onnx",
        "resnet18_64_int8.onnx",
    ]
    assert all(line.endswith(": up to date") for line in lines)
    assert exported.everything() == before


def test_a_damaged_file_is_made_again_and_its_neighbours_are_kept(exported, capsys) -> None:
    whole = exported.int8.read_bytes()
    exported.int8.write_bytes(whole[:5000])
    assert exported.export() == 0
    assert exported.int8.read_bytes() == whole
    kept = [line.endswith(": up to date") for line in capsys.readouterr().out.splitlines()]
    assert kept == [True, True, False]


def test_new_samples_make_every_artifact_stale(exported, capsys, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "build_onnx", lambda *_: onnx.load(exported.onnx))  # saves the exporter's seconds
    samples = dict(np.load(exported.samples))
    np.savez(exported.samples, **(samples | {"val_images": samples["val_images"][::-1]}))
    assert exported.export() == 0
    assert "up to date" not in capsys.readouterr().out


def test_force_makes_again_what_is_up_to_date(exported, capsys) -> None:
    assert exported.export("--to", "reference", "--force") == 0
    assert "up to date" not in capsys.readouterr().out


def test_a_model_that_answers_differently_is_not_kept(exported, capsys, monkeypatch) -> None:
    model = onnx.load(exported.onnx)
    head = next(entry for entry in model.graph.initializer if entry.name == "fc.weight")
    head.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) * np.float32(1.001), "fc.weight"))
    monkeypatch.setattr(pipeline, "build_onnx", lambda *_: model)
    before = exported.everything()
    assert exported.export("--to", "onnx", "--force") == 1
    line = one_line(capsys)
    assert "resnet18_64_fp32.onnx: not kept: rel_l2" in line
    assert exported.everything() == before


def test_an_interrupted_export_leaves_the_old_files_whole(exported, capsys, monkeypatch) -> None:
    def stop_half_way(model: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(model.SerializeToString()[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "build_onnx", lambda *_: onnx.load(exported.onnx))
    monkeypatch.setattr(onnx, "save", stop_half_way)
    before = exported.everything()
    assert exported.export("--to", "onnx", "--force") == 130
    assert "interrupted" in one_line(capsys)
    assert exported.everything() == before


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError("1024 requested and 8 written"), "1024 requested and 8 written"),
    ],
)
def test_a_full_disk_names_the_file_that_was_being_written(bare, capsys, monkeypatch, error, reason: str) -> None:
    def fill(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("export.to_reference.np.savez", fill)
    before = bare.everything()
    assert bare.export("--to", "reference", "--reference_images", "4") == 2
    assert one_line(capsys).startswith(f"python -m export: error: {bare.reference}: {reason}; check")
    assert bare.everything() == before


def test_an_interrupt_before_the_work_begins_has_no_traceback(bare, capsys, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.__main__.make_engine_settings", interrupt)
    assert bare.export() == 130
    assert "interrupted" in one_line(capsys)


def test_weights_without_samples_get_synthetic_images_and_no_accuracy(bare, capsys, manifest_of) -> None:
    bare.samples.unlink()
    assert bare.export("--to", "reference", "--reference_images", "4") == 0
    assert "accuracy cannot be told" in capsys.readouterr().out
    manifest = manifest_of(bare.reference)
    assert (manifest["images"], manifest["labelled"], manifest["accuracy"]) == (4, False, None)
    first = bare.reference.read_bytes()
    assert bare.export("--to", "reference", "--reference_images", "4", "--force") == 0
    assert bare.reference.read_bytes() == first  # seeded


def damaged(weights: Path) -> str:
    weights.write_bytes(weights.read_bytes()[:100_000])
    return weights.name


def of_another_network(weights: Path) -> str:
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=10).state_dict(), weights)
    return _described_again(weights)


def of_other_classes(weights: Path) -> str:
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), weights)
    return _described_again(weights)


def with_code(weights: Path) -> str:
    torch.save(Opens(weights.parent / "executed"), weights)
    return _described_again(weights)


def _described_again(weights: Path) -> str:
    import hashlib

    redescribe(weights, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    return weights.name


def without_json(weights: Path) -> str:
    weights.with_suffix(".json").unlink()
    return weights.with_suffix(".json").name


def with_a_mean_of_one_channel(weights: Path) -> str:
    redescribe(weights, normalization={"mean": [0.5], "std": [0.5]})
    return "normalization needs three numbers"


def with_a_nan(weights: Path) -> str:
    return _with_weights_of(weights, float("nan"), f"{weights.name}: fc.weight is not finite")


def with_logits_beyond_float32(weights: Path) -> str:
    return _with_weights_of(weights, 3e38, f"{weights.name}: PyTorch's logits are not finite")


def _with_weights_of(weights: Path, value: float, said: str) -> str:
    state_dict = torch.load(weights, weights_only=True)
    torch.save(state_dict | {"fc.weight": torch.full_like(state_dict["fc.weight"], value)}, weights)
    _described_again(weights)
    return said


def with_damaged_samples(weights: Path) -> str:
    file = weights.parent / "samples" / f"{weights.stem}.npz"
    file.write_bytes(file.read_bytes()[:1000])
    return f"samples/{file.name}"


def with_samples_of_another_size(weights: Path) -> str:
    file = weights.parent / "samples" / f"{weights.stem}.npz"
    arrays = dict(np.load(file))
    np.savez(file, **(arrays | {"train_images": arrays["train_images"][:, :, ::2, ::2]}))
    return "train_images is (24, 3, 32, 32)"


@pytest.mark.parametrize(
    "spoil",
    [
        damaged,
        of_another_network,
        of_other_classes,
        with_code,
        without_json,
        with_a_mean_of_one_channel,
        with_a_nan,
        with_logits_beyond_float32,
        with_damaged_samples,
        with_samples_of_another_size,
    ],
)
def test_bad_weights_cost_one_line_that_names_them_and_change_nothing(bare, spoil, capsys) -> None:
    named = spoil(bare.weights)
    before = bare.everything()
    assert bare.export() == 2
    assert named in one_line(capsys)
    assert bare.everything() == before
    assert not (bare.weights_dir / "executed").exists()


def test_a_size_without_weights_is_refused_with_those_that_have(bare, capsys) -> None:
    assert bare.export("--image_size", "[64,384]") == 2
    assert "--image_size: no weights for 384 px" in (line := one_line(capsys))
    assert line.endswith("found: 64\n")


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_without_weights_says_make_train(tmp_path: Path, capsys, create: bool) -> None:
    folder = tmp_path / "weights"
    if create:
        folder.mkdir()
    assert main(["--weights_dir", str(folder)]) == 2
    assert "make train" in one_line(capsys)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--to", "tflite"], "--to: tflite is not reference, onnx, fp16, int8, engine"),
        (["--to", "[onnx,tflite]"], "--to: tflite is not reference, onnx, fp16, int8, engine"),
        (["--to", "[]"], "--to: empty"),
        (["--image_size", "[]"], "--image_size: empty"),
        (["--engine_profiles", "[8-4-1]"], "--engine_profiles: 8-4-1 must ascend"),
        (["--engine_profiles", "[a]"], "--engine_profiles: a is neither"),
        (["--image_size", "large"], "--image_size: large is not an image size in px"),
        (["--reference_images", "0"], "--reference_images: 0"),
        (["--int8_style", "gpu"], "--int8_style: gpu is not cpu or tensorrt"),
        (["--imagesize", "64"], "--imagesize"),
    ],
)
def test_a_wrong_flag_costs_one_line_that_names_it(bare, flags: list[str], named: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bare.export(*flags)
    assert stopped.value.code == 2
    assert named in one_line(capsys)


def test_a_single_target_and_a_single_size_need_no_list(bare) -> None:
    assert bare.export("--to", "reference", "--image_size", "64") == 0
    assert [path.name for path in bare.weights_dir.glob("*/*.npz") if path.parent.name == "reference"] == [
        bare.reference.name
    ]


def test_the_command_itself_ends_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = run_stage("export", "--weights_dir", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
