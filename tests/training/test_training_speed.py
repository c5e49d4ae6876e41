"""`python -m training.speed` and the options it compares."""

import json

import pytest
import torch
from lightning import Trainer

from training.classifier import Classifier
from training.data import ImageDataModule
from training.meter import Meter
from training.speed import main
from training.speed_options import fill_in, read_options
from training.speed_sources import open_sources
from training.speed_table import missed_targets, overhead


class FakeClock:
    """Stands still; a synchronisation takes what the device still has to do."""

    def __init__(self):
        self.now_s, self.pending_s = 0.0, 0.0

    def __call__(self):
        return self.now_s

    def wait(self):
        self.now_s, self.pending_s = self.now_s + self.pending_s, 0.0


def test_a_rate_counts_what_the_device_had_still_to_do_when_its_window_closed():
    clock = FakeClock()
    meter = Meter(window_s=1.0, windows=2, warmup_steps=2, wait=clock.wait, clock=clock)
    meter.start()
    steps, full = 0, False
    while not full:
        clock.now_s += 0.25  # the host enqueues
        clock.pending_s += 0.75
        full, steps = meter.count(images=10), steps + 1
    assert meter.first_step_s == 1.0
    assert meter.rates == [10.0, 10.0]  # 4 steps: 1 s for the host, 3 s more for the device
    assert steps == 2 + 2 * 4


def train(model, device="cpu", **options):
    data = ImageDataModule(image_size=32, train_images=10, val_images=4, batch_size=4, workers=0, **options)
    trainer = Trainer(accelerator=device, devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(model, datamodule=data)
    return trainer, data


def test_full_batches_of_training_are_compiled_as_one_graph_and_nothing_else_is(monkeypatch):
    graphs, calls = [], []
    compile_ = torch.compile

    def record(function, **options):
        def backend(graph, _):
            graphs.append(graph)
            return graph.forward

        compiled = compile_(function, backend=backend, fullgraph=True, **options)
        return lambda *args: calls.append(len(args[1])) or compiled(*args)

    monkeypatch.setattr(torch, "compile", record)
    train(Classifier(compile=True))
    assert calls == [4, 4]  # of 10 images; the last two, and validation, are not compiled
    assert len(graphs) == 1


def test_compilation_and_fused_optimisers_are_off_on_a_cpu_by_default():
    model = Classifier()
    trainer, data = train(model)
    assert model.compiled_step is None
    assert not trainer.optimizers[0].defaults["fused"]
    assert not data.resident


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_the_optimiser_is_fused_and_asked_for_images_stay_there():
    trainer, data = train(Classifier(), "gpu", resident_on_gpu=True, augment="crop")
    assert trainer.optimizers[0].defaults["fused"]
    assert data.resident
    assert all(images.device.type == labels.device.type == "cuda" for images, labels in trainer.train_dataloader)


def test_the_memory_format_is_chosen_by_a_flag():
    for channels_last in (True, False):
        model = Classifier(channels_last=channels_last)
        train(model)
        weight = model.network.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


TINY = ["--image_size", "16", "--batch_size", "4", "--seconds", "0.02", "--windows", "2", "--workers", "0",
        "--device", "cpu", "--train_images", "8"]  # fmt: skip


def test_every_measurement_is_one_json_line_with_its_rate_windows_and_settings(capsys, tmp_path):
    output = tmp_path / "new" / "speed.jsonl"
    assert main([*TINY, "--caches", "[none,memory,disk,gpu]", "--output", str(output)]) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    kinds = [(record["measured"], record.get("mode"), record.get("cache")) for record in records]
    assert kinds == [
        ("step", "eager", None), ("bare", "eager", None),
        *(("together", "eager", cache) for cache in ("none", "memory", "disk", "gpu")),
        ("gather", None, "memory"),
        *(("loader", None, cache) for cache in ("none", "memory", "disk", "gpu")),
    ]  # fmt: skip
    for record in records:
        assert len(record["windows_images_per_s"]) == 2
        assert min(record["windows_images_per_s"]) <= record["images_per_s"] <= max(record["windows_images_per_s"])
        assert (record["image_size"], record["batch_size"], record["memory_format"]) == (16, 4, "channels_last")
        assert record["versions"]["torch"] == torch.__version__
        assert record["machine"]["cores"] >= 1
    table = output.with_suffix(".md").read_text()
    assert len([line for line in table.splitlines() if line.startswith("| 16 | 4 | builtin | eager |")]) == 4
    assert table.strip() in capsys.readouterr().out


def test_jpeg_files_are_decoded_at_every_epoch_or_once(tmp_path):
    settings = fill_in(read_options([*TINY, "--source", "jpeg", "--train_images", "70", "--caches", "[none,disk]"]))[0]
    sources = open_sources(settings, tmp_path)
    none, disk = (sources[name].opened.train for name in ("none", "disk"))
    assert len(none) == len(disk) == 70
    assert all(torch.equal(none[i][0], disk[i][0]) for i in (0, 1, 69))


def test_a_missed_target_is_named_and_the_exit_status_says_so(capsys):
    few = ["--measurements", "[step]", "--caches", "[memory]"]
    assert main([*TINY, *few, "--min_step", "1e12"]) == 1
    assert "missed: --min_step" in capsys.readouterr().out
    assert main([*TINY, *few, "--min_step", "0.001"]) == 0


def record(measured, windows, **more):
    return {"measured": measured, "mode": "eager", "image_size": 224, "windows_images_per_s": windows,
            "images_per_s": sorted(windows)[1]} | more  # fmt: skip


def test_overhead_is_the_median_over_windows_that_lay_side_by_side():
    """Both loops slow down to a half on the way; the second window of each was disturbed."""
    step, bare = record("step", [96.0, 10.0, 48.0]), record("bare", [100.0, 80.0, 50.0])
    assert overhead(step, bare) == pytest.approx(0.04)


def test_targets_are_those_of_the_fastest_mode_and_the_memory_cache():
    step, bare = record("step", [100.0] * 3), record("bare", [104.0] * 3)
    slow = record("step", [50.0] * 3, mode="compile")
    fed = [record("together", [rate] * 3, cache=cache) for cache, rate in (("none", 10.0), ("memory", 91.0))]
    records = [step, bare, slow, *fed]
    assert missed_targets(records, 100.0, 0.9, 0.05) == []
    (first, second, third) = missed_targets(records, 101.0, 0.92, 0.03)
    assert ("--min_step" in first, "--max_overhead" in second, "--min_together: 91.0%" in third) == (True, True, True)
    assert missed_targets(records, None, None, None) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--image_size", "abc"], "--image_size"),
        (["--batch_size", "0"], "--batch_size"),
        (["--seconds", "-1"], "--seconds"),
        (["--seconds", ".nan"], "--seconds: nan; give a finite number"),
        (["--seconds", ".inf"], "--seconds: inf; give a finite number"),
        (["--device", "tpu"], "--device"),
        (["--modes", "[fast]"], "--modes"),
        (["--batch_size", "8", "--train_images", "4"], "--train_images"),
        (["--image_size", "[224,512]", "--batch_size", "[8]"], "--batch_size"),
        (["--measurements", "[bare]"], "--measurements"),
        (["--caches", "[ram]"], "--caches"),
        (["--no_such_flag", "1"], "--no_such_flag"),
    ],
)
def test_bad_flags_are_one_line_that_names_the_flag(args, said, capsys):
    with pytest.raises(SystemExit) as caught:
        read_options(args)
    stderr = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in stderr
    assert len(stderr.splitlines()) == 1


def test_a_size_or_device_that_is_not_possible_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for args, said in ((["--device", "cuda"], "--device"), (["--device", "cpu", "--image_size", "8"], "image_size")):
        assert main(args) == 2
        stderr = capsys.readouterr().err
        assert said in stderr
        assert len(stderr.splitlines()) == 1


def test_on_a_gpu_an_epoch_has_whole_batches(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    flags = ["--image_size", "[224,512]", "--batch_size", "[512,256]", "--precision", "bf16-mixed"]
    assert [settings.train_images for settings in fill_in(read_options(flags))] == [39 * 512, 15 * 256]
