"""Two contenders of equal speed must come out as a tie, and a 5% slower one as slower, though processes differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from analysis import stats
from analysis.cells import build_cells
from analysis.self_check import find_self_check
from analysis.summary import summarise
from harness.schema import AGAIN, Row
from tests.analysis import synthetic

EAGER = synthetic.CPU[0]
TWIN = replace(EAGER, variant="twin")
PROFILE_TWICE = Path(__file__).parents[2] / "docs/results/gpu-probes/nvidia-h200-profile-twice.csv"
PROCESS_SPREAD = 0.005  # standard deviation of the offset that all samples of a process share

AGAINST_ITSELF = pytest.mark.parametrize(
    "again", [pytest.param(False, id="alone"), pytest.param(True, id="with_self_check", marks=pytest.mark.slow)]
)


def process_row(model: synthetic.Model, seed: int, round_: int, factor: float, spread: float) -> Row:
    """What one process measures: all its samples share an offset."""
    rng = np.random.default_rng([seed, round_, len(model.variant), 5])
    same_speed = replace(EAGER, variant=model.variant)
    offset = factor * (1 + spread * rng.standard_normal())
    return synthetic.make_row(same_speed, 224, 8, round_=round_, seed=seed, factor=offset)


def verdict_of(seed: int, rounds: int, factor: float, spread: float, again: bool = False) -> str:
    """What the summary says of a twin whose times are `factor` of the baseline's."""
    models = [(EAGER, 1.0), (TWIN, factor), *([(replace(EAGER, variant="eager" + AGAIN), 1.0)] if again else [])]
    rows = [process_row(m, seed, number, f, spread) for number in range(1, rounds + 1) for m, f in models]
    table = summarise(build_cells(rows), {}).set_index("variant")
    return str(table.loc["twin", "verdict"])


@AGAINST_ITSELF
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_against_a_is_a_tie_in_at_least_95_of_100(rounds: int, again: bool) -> None:
    verdicts = [verdict_of(seed, rounds, 1.0, PROCESS_SPREAD, again) for seed in range(100)]
    assert verdicts.count("tie") >= 95


@AGAINST_ITSELF
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_five_percent_slower_is_found_in_at_least_95_of_100(rounds: int, again: bool) -> None:
    verdicts = [verdict_of(seed, rounds, 1.05, PROCESS_SPREAD, again) for seed in range(100)]
    assert verdicts.count("slower") >= 95


def test_on_a_noisier_machine_three_rounds_and_the_self_check_keep_ties() -> None:
    """Processes that differ by 2%: four times what is assumed beforehand."""
    verdicts = [verdict_of(seed, 3, 1.0, 0.02, again=True) for seed in range(100)]
    assert verdicts.count("tie") >= 95


def test_repeated_quiet_measurements_show_a_difference_of_one_percent() -> None:
    """Three rounds of forty cells whose processes agree within 0.1% narrow the intervals of all of them."""
    rows = [
        process_row(replace(model, variant=f"{model.variant}{index}"), index, number, 1.0, 0.001)
        for number in (1, 2, 3) for index in range(38) for model in (EAGER,)
    ]  # fmt: skip
    for number in (1, 2, 3):
        rows += [process_row(EAGER, 99, number, 1.0, 0.001), process_row(TWIN, 99, number, 1.01, 0.001)]
    table = summarise(build_cells(rows), {}).set_index("variant")
    assert table.loc["twin", "verdict"] == "slower"
    assert table.loc["eager0", "verdict"] == "tie"


def test_batches_of_one_process_share_its_offset_in_the_self_check() -> None:
    """A second process that is 0.8% slower at all five batches is one difference, not five: still a tie."""
    again = replace(EAGER, variant="eager" + AGAIN)
    batches = (1, 2, 4, 8, 16)
    rows = synthetic.make_rows((EAGER,), (224,), batches) + synthetic.make_rows((again,), (224,), batches, factor=1.008)
    check = find_self_check(rows)
    assert check is not None
    assert check.low < 1.0 < check.ratio < check.high


@pytest.mark.parametrize(
    ("half_width", "short_spread", "expected"),
    [
        ("independent_half_percent", 0.004, [66, 338, 42]),
        ("half_percent", 0.004, [66, 338, 102]),
        ("half_percent", stats.PRIOR_SPREAD_SHORT, [95, 338, 104]),
    ],
)
def test_how_many_cells_of_a_profile_that_ran_twice_agree(
    half_width: str, short_spread: float, expected: list[int]
) -> None:
    """The table of docs/decisions/ties.md: 101 cells under 1 ms and 363 others `ok` in both, and 144 unstable ones."""
    cells = pd.read_csv(PROFILE_TWICE)
    ok, short = (cells["status_1"] == "ok") & (cells["status_2"] == "ok"), cells["mean_ms_1"] < stats.SHORT_MS
    within = sum((cells[f"{half_width}_{run}"] / 100 / norm.ppf(0.975)) ** 2 for run in (1, 2))
    error = np.sqrt(within + 2 * np.where(short, short_spread, 0.004) ** 2)
    apart = np.abs(np.log(cells["mean_ms_2"] / cells["mean_ms_1"]))
    agree = apart <= t.ppf(0.975, stats.PRIOR_FREEDOM) * error
    groups = (ok & short, ok & ~short, ~ok)
    assert [int(group.sum()) for group in groups] == [101, 363, 144]
    assert [int(agree[group].sum()) for group in groups] == expected
