"""An exponential moving average (EMA) of the weights: validated, kept and written with --ema_decay."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightEma(WeightAveraging):
    """Lightning's averaging of weights and batch-norm statistics after every step, by an EMA.

    Args:
        decay: Share of the average that a step keeps, reached after a rise (see warmed_decay).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._blend)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the network, which Lightning would build, and move to its device, after this."""
        if stage != "fit":
            return
        pl_module.setup("fit")
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)
        assert self._average_model is not None  # noqa: S101 - for the type checker
        # torch looks at its counter in every step: on a GPU it would wait for the device
        self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def _blend(self, averaged: list[torch.Tensor], current: list[torch.Tensor], _: torch.Tensor) -> None:
        decay = warmed_decay(self.decay, self._latest_update_step)
        get_ema_multi_avg_fn(decay)(averaged, current, _)


def warmed_decay(decay: float, steps: int) -> float:
    """Decay after `steps` averaged steps: min(decay, (1 + steps) / (10 + steps)).

    So a short run does not carry its random start along (the rule of TensorFlow's ExponentialMovingAverage).
    """
    return min(decay, (1 + steps) / (10 + steps))
