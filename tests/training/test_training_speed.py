"""`python -m training.speed` and the options it compares."""

import json

import pytest
import torch
from lightning import Trainer

from training.classifier import Classifier
from training.data import ImageDataModule
from training.meter import Meter
from training.speed import main
from training.speed_options import read_options


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


def test_every_measurement_is_one_json_line_with_its_rate_windows_and_settings(capsys, tmp_path):
    output = tmp_path / "new" / "speed.jsonl"
    tiny = ["--image_size", "16", "--batch_size", "4", "--seconds", "0.02", "--windows", "2", "--workers", "0"]
    assert main([*tiny, "--device", "cpu", "--output", str(output)]) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["measured"] for record in records] == ["step", "loop_loader", "loop_resident", "loader"]
    for record in records:
        assert len(record["windows_images_per_s"]) == 2
        assert min(record["windows_images_per_s"]) <= record["images_per_s"] <= max(record["windows_images_per_s"])
        assert (record["image_size"], record["batch_size"], record["memory_format"]) == (16, 4, "channels_last")
        assert record["versions"]["torch"] == torch.__version__
    assert [record.get("mode") for record in records] == ["eager", "eager", "eager", None]
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--image_size", "abc"], "--image_size"),
        (["--batch_size", "0"], "--batch_size"),
        (["--seconds", "-1"], "--seconds"),
        (["--device", "tpu"], "--device"),
        (["--modes", "[fast]"], "--modes"),
        (["--batch_size", "8", "--train_images", "4"], "--train_images"),
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
