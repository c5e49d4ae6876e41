"""Averaged weights, clipped gradients, early stopping, mixed labels: what each is, checked where it acts."""

from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from training.averaging import WeightEma, warmed_decay
from training.best_weights import BestWeights
from training.callbacks import Throughput
from training.checkpoint import load_weights
from training.classifier import Classifier, fits_fused
from training.data import ImageDataModule


class Recorder(Callback):
    """The head's weights after every step, and the norm of the gradients the step was taken with."""

    def __init__(self):
        self.heads, self.norms = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.heads.append(pl_module.network.fc.weight.detach().double().clone())
        gradients = [p.grad.flatten() for p in pl_module.network.parameters()]
        self.norms.append(float(torch.cat(gradients).norm()))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """One epoch of four steps with EMA and clipping: (recorder, folder of weights, last checkpoint)."""
    folder = tmp_path_factory.mktemp("ema")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny images
    torch.manual_seed(0)
    recorder, throughput = Recorder(), Throughput()
    data = ImageDataModule(image_size=32, train_images=32, val_images=20, batch_size=8, workers=0)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        gradient_clip_val=0.1, default_root_dir=folder,
        callbacks=[recorder, throughput, BestWeights(throughput), WeightEma(0.2),
                   ModelCheckpoint(folder, monitor="val/accuracy", mode="max"),
                   ModelCheckpoint(folder, filename="last")],
    )  # fmt: skip
    trainer.fit(Classifier(weights_dir=folder / "weights", learning_rate=0.5), datamodule=data)
    torch.set_num_threads(threads)
    return recorder, folder / "weights/best_resnet18_32.pth", torch.load(folder / "last.ckpt", weights_only=True)


def test_averaged_weights_are_the_recursion_of_the_weights_after_each_step(averaged):
    """W <- d W + (1 - d) w, from the weights after the first step; d rises to --ema_decay."""
    recorder, path, checkpoint = averaged
    expected = recorder.heads[0]
    for steps, weights in enumerate(recorder.heads[1:], start=1):
        decay = min(0.2, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * weights
    written = load_weights(path)[0]["fc.weight"].double()
    assert torch.allclose(written, expected, atol=1e-7)
    assert not torch.allclose(written, recorder.heads[-1], atol=1e-5)
    assert torch.equal(checkpoint["current_model_state"]["network.fc.weight"].double(), recorder.heads[-1])


def test_the_written_accuracy_is_that_of_the_averaged_weights(averaged):
    _, path, _ = averaged
    state_dict, metadata = load_weights(path)
    torch.manual_seed(0)
    data = ImageDataModule(image_size=32, train_images=32, val_images=20, batch_size=8, workers=0)
    model = Classifier(init_from=path)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    result = trainer.validate(model, datamodule=data, verbose=False)[0]
    assert all(torch.equal(model.network.state_dict()[name], state_dict[name]) for name in state_dict)
    assert result["val/accuracy"] == pytest.approx(metadata.accuracy, abs=1e-6)
    assert result["val/loss"] == pytest.approx(metadata.val_loss, rel=1e-5)


def test_a_short_run_averages_over_its_last_tenths():
    assert [warmed_decay(0.999, steps) for steps in (0, 90, 10_000)] == [0.1, 0.91, 0.999]


def test_gradients_are_clipped_to_the_norm_asked_for(averaged):
    recorder, _, _ = averaged
    assert max(recorder.norms) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("precision", "clip", "fused"),
    [("bf16-mixed", None, True), ("bf16-mixed", 1.0, False), ("32-true", 1.0, True), ("16-mixed", None, False)],
)
def test_a_fused_optimiser_is_taken_where_lightning_can_clip_with_it(precision, clip, fused):
    assert fits_fused("cuda", precision, clip) == fused
    assert not fits_fused("cpu", precision, clip)


def test_lightning_refuses_to_clip_under_autocast_with_a_fused_optimiser():
    """Should this fail, fits_fused can drop its rule."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], fused=True)
    with pytest.raises(RuntimeError, match="does not allow for gradient clipping"):
        MixedPrecision("bf16-mixed", "cpu").clip_gradients(optimizer, 1.0)


def test_training_accuracy_counts_the_labels_before_mixing(monkeypatch):
    """A network that knows the labels of the batch is right about every image, whatever was mixed into it."""
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(2)
    model = Classifier(mixup=True, cutmix=True)
    model._trainer = SimpleNamespace(
        datamodule=ImageDataModule(train_images=20, val_images=10), strategy=SimpleNamespace(reduce=None)
    )
    monkeypatch.setattr(Classifier, "log_dict", lambda *_, **__: None)
    model.setup("fit")
    monkeypatch.setattr(Classifier, "forward", lambda self, images: 50 * torch.eye(10)[labels])
    loss = model.training_step([torch.zeros(20, 3, 8, 8, dtype=torch.uint8), labels], 0)
    assert float(model.accuracy["train_"].compute()) == 1.0
    assert float(loss) > 1, "the mixed-in labels are missed"


TINY = ["--data.image_size", 32, "--data.train_images", 16, "--data.val_images", 1, "--data.batch_size", 8,
        "--data.workers", 0, "--trainer.max_epochs", 5, "--model.learning_rate", 1e-9]  # fmt: skip


@pytest.fixture(scope="module")
def stopped(run_training, tmp_path_factory):
    """A folder with a training that learns nothing, with patience 2, resumed when it was done; what both printed."""
    folder = tmp_path_factory.mktemp("stop")
    runs = []
    for more in ([], ["--weights_dir", "again", "--ckpt_path", "last"]):
        runs.append(run_training("fit", *TINY, "--early_stopping_patience", 2, *more, cwd=folder))
        assert runs[-1].returncode == 0, runs[-1].stderr
    return folder, runs


def test_training_ends_when_accuracy_has_not_risen_for_the_patience(stopped):
    _, (run, _) = stopped
    *epochs, said, last = run.stdout.splitlines()
    assert [line.split(":")[0] for line in epochs if line.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
    assert said.startswith("ended after epoch 3 of 5: validation accuracy has not risen for 2 validations")
    assert "best_resnet18_32.pth" in last


def test_the_last_epoch_is_kept_beside_the_best(stopped):
    folder, _ = stopped
    checkpoints = {
        path.stem: torch.load(path, weights_only=True)["epoch"] + 1
        for path in folder.glob("lightning_logs/*/checkpoints/*.ckpt")
    }
    assert checkpoints == {"epoch=0-step=2": 1, "last": 3}


def test_a_run_that_was_done_is_resumed_to_the_weights_it_had(stopped):
    """As when it was killed before it had written them."""
    folder, _ = stopped
    (first, described), (again, described_again) = (
        load_weights(folder / name / "best_resnet18_32.pth") for name in ("weights", "again")
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert (described.epoch, described.accuracy) == (described_again.epoch, described_again.accuracy)


@pytest.mark.gpu
def test_on_a_gpu_weights_are_averaged_and_gradients_clipped_under_autocast(run_training, tmp_path):
    flags = ["--ema_decay", 0.9, "--trainer.gradient_clip_val", 1.0, "--find_batch_size", "true"]
    done = run_training("fit", *TINY, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "batch size found: " in done.stdout
    load_weights(tmp_path / "weights/best_resnet18_32.pth")
