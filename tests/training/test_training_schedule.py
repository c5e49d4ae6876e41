"""The learning-rate schedule against torch's own schedulers."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR

from training.schedule import warmup_cosine


def _rates(make_scheduler, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("total", "warmup"), [(100, 10), (50, 5), (7, 2)])
def test_warmup_then_cosine_agrees_with_torch(total, warmup):
    def torchs_own(optimizer):
        rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        fall = CosineAnnealingLR(optimizer, T_max=total - warmup)
        return SequentialLR(optimizer, [rise, fall], milestones=[warmup])

    ours = _rates(lambda optimizer: LambdaLR(optimizer, lambda step: warmup_cosine(step, total, warmup)), total)
    assert ours == pytest.approx(_rates(torchs_own, total))


def test_without_warmup_it_is_torchs_cosine_annealing():
    ours = [warmup_cosine(step, 40, 0) for step in range(40)]
    assert ours == pytest.approx(_rates(lambda optimizer: CosineAnnealingLR(optimizer, T_max=40), 40))


def test_after_the_last_step_the_rate_stays_zero():
    assert [warmup_cosine(step, 10, 2) for step in (10, 11, 500)] == [0.0, 0.0, 0.0]
