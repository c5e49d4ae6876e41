"""Images per second over repeated windows: of a loop, or of a training that Lightning drives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Meter:
    """Rates over `windows` windows of at least `window_s` seconds each, after `warmup_steps` steps (1 or more).

    The device is waited for only where a window begins or ends: within a window the host may run ahead of it.

    Attributes:
        rates: Images per second, one for each window.
        first_step_s: From start() to the end of the first step.
    """

    def __init__(
        self,
        window_s: float,
        windows: int,
        warmup_steps: int,
        wait: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.window_s, self.windows, self.warmup_steps = window_s, windows, warmup_steps
        self.rates: list[float] = []
        self.first_step_s = 0.0
        self._wait, self._clock = wait, clock
        self._steps, self._images, self._opened_at = 0, 0, 0.0

    def start(self) -> None:
        """The first step begins."""
        self._wait()
        self._opened_at = self._clock()

    def count(self, images: int) -> bool:
        """A step with `images` images is done; True when the last window is full."""
        self._steps += 1
        if self._steps == 1:
            self._wait()
            self.first_step_s = self._clock() - self._opened_at
        if self._steps <= self.warmup_steps:
            if self._steps == self.warmup_steps:
                self.start()
            return False
        self._images += images
        if self._clock() - self._opened_at >= self.window_s:
            self._wait()
            self.rates.append(self._images / (self._clock() - self._opened_at))
            self._images, self._opened_at = 0, self._clock()
        return len(self.rates) >= self.windows


class MeteredTraining(Callback):
    """Feeds a Meter with the steps of a training, and ends the training when the meter is full."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._started = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Only the very first batch."""
        if not self._started:
            self._started = True
            self.meter.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step more."""
        trainer.should_stop = self.meter.count(len(batch[1])) or trainer.should_stop


def waiting_for(device: torch.device) -> Callable[[], None]:
    """A function that returns when `device` has done all it was given."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None
