"""What is said of the input pipeline after the first epoch."""

import time

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from training import limiter as module
from training.callbacks import Throughput
from training.data import ImageDataModule
from training.limiter import Rates, advice, loading_rate

STEP_S, LOAD_S = 0.02, 0.03


def test_the_limiter_is_the_loader_when_training_is_slower_than_its_step():
    assert Rates(loader=100, step=100, together=94).limiter == "loader"
    assert Rates(loader=100, step=100, together=96).limiter == "step"


class SlowSet(TensorDataset):
    def __getitem__(self, index):
        time.sleep(LOAD_S)
        return super().__getitem__(index)


class SlowStep(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        time.sleep(0.5 if self.global_step == 0 else STEP_S)  # as one that compiles
        return (self.weight * batch[0].sum()).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_rates_of_an_epoch_are_those_of_its_sleeps_without_the_first_step():
    throughput = Throughput()
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, callbacks=[throughput])  # fmt: skip
    trainer.fit(SlowStep(), DataLoader(SlowSet(torch.ones(12, 1), torch.zeros(12)), batch_size=1))
    step, together = throughput.epoch_rates()
    assert 0.5 / STEP_S < step <= 1 / STEP_S
    assert 0.5 / (STEP_S + LOAD_S) < together <= 1 / (STEP_S + LOAD_S)


def open_data(**options):
    return ImageDataModule(**({"image_size": 16, "train_images": 20, "val_images": 4, "batch_size": 8, "workers": 1,
                               "augment": "flip"} | options))  # fmt: skip


@pytest.mark.parametrize("options", [{"cache": "memory"}, {"resident_on_gpu": True}, {"workers": 0}])
def test_timing_the_loader_does_not_change_what_training_draws(options):
    torch.manual_seed(3)
    untouched = [images for images, _ in open_data(**options).train_dataloader()]
    torch.manual_seed(3)
    data = open_data(**options)
    source = data.train_dataloader()
    assert loading_rate(source, data) > 0
    assert all(torch.equal(one, other[0]) for one, other in zip(untouched, source, strict=True))


@pytest.mark.parametrize(
    ("limiter", "options", "on_gpu", "said"),
    [
        ("step", {}, True, "--model.compile true"),
        ("step", {}, False, "the loader keeps up"),
        ("loader", {}, False, "--data.cache memory"),
        ("loader", {"cache": "memory"}, True, "--data.resident_on_gpu true"),
        ("loader", {"resident_on_gpu": True}, True, "--data.batch_size"),
    ],
)
def test_advice_names_the_flag_that_helps(monkeypatch, limiter, options, on_gpu, said):
    data = open_data(**options)
    data.setup("fit")
    monkeypatch.setattr(module, "available_ram", lambda: 1e12)
    assert said in advice(limiter, data, on_gpu, compiled=False)


def test_images_that_do_not_fit_into_ram_are_advised_to_the_disk(monkeypatch):
    monkeypatch.setattr(module, "available_ram", lambda: 1e3)
    assert "--data.cache disk" in advice("loader", open_data(), on_gpu=False, compiled=False)


def test_more_workers_are_advised_where_cores_are_idle(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    assert "--data.workers 16" in advice("loader", open_data(workers=2), on_gpu=False, compiled=False)
    assert "--data.workers" not in advice("loader", open_data(workers=15), on_gpu=False, compiled=False)
