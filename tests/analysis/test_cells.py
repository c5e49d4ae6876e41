"""When several rounds of one cell are believed: judged by what they say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from analysis import stats
from analysis.cells import Cell, build_cells, draw_ahead
from harness.measure import half_width_percent
from harness.schema import AGAIN, WIDE_INTERVAL, Row
from tests.analysis import synthetic
from tests.harness.series import T_975

WIDE = f"{WIDE_INTERVAL} ±1% at the limit of 4 s or 2000 samples"


def round_of(number: int, ms: float, *, noise: float = 0.002, target: float | None = 1.0, **changes: object) -> Row:
    """A round of 40 samples around `ms`."""
    samples = ms * (1 + noise * np.random.default_rng(number).standard_normal(40))
    options = {} if target is None else {"target_percent": target}
    return synthetic.make_row(
        synthetic.CPU[0], 224, 1, round_=number, samples={"device_ms": samples.tolist()}, same_as={}, options=options,
        **changes,
    )  # fmt: skip


def cell_of(*rows: Row) -> Cell:
    (cell,) = build_cells(rows).values()
    return cell


def wide(number: int, ms: float, **changes: object) -> Row:
    return round_of(number, ms, noise=0.05, status="unstable", reason=WIDE, **changes)


def test_rounds_that_agree_are_believed() -> None:
    assert cell_of(round_of(1, 10.0), round_of(2, 10.02), round_of(3, 9.98)).status == "ok"


def test_rounds_that_are_each_sure_of_another_time_are_not() -> None:
    """Three processes at 9.8, 10 and 10.2 ms, each within ±0.1%: their mean is known to ±2.6% by Student's t."""
    cell = cell_of(*(round_of(number, ms) for number, ms in enumerate((9.8, 10.0, 10.2), start=1)))
    assert cell.status == "unstable"
    assert cell.reason == f"{WIDE_INTERVAL} ±1% over 3 rounds"


def test_the_same_rounds_are_believed_by_who_asks_for_less() -> None:
    rows = [round_of(number, ms, target=5.0) for number, ms in enumerate((9.8, 10.0, 10.2), start=1)]
    assert cell_of(*rows).status == "ok"


def test_rounds_that_were_too_wide_alone_may_know_the_time_together() -> None:
    alone = cell_of(wide(1, 10.0))
    assert (alone.status, alone.reason) == ("unstable", WIDE)
    assert cell_of(*(wide(number, 10.0) for number in range(1, 31))).status == "ok"


@pytest.mark.parametrize("reason", ["another process on the GPU", "warm-up windows did not agree"])
def test_other_rounds_do_not_mend_a_disturbed_one(reason: str) -> None:
    rows = [round_of(1, 10.0), round_of(2, 10.0, status="unstable", reason=reason), round_of(3, 10.0)]
    cell = cell_of(*rows)
    assert cell.status == "unstable"
    assert cell.reason == f"round 2: unstable: {reason}"


def test_a_wide_round_beside_a_failed_one_is_not_mended() -> None:
    asked = {"target_percent": 1.0}
    failed = synthetic.failed_row(synthetic.CPU[0], 224, 1, "timeout", "no answer", round_=2, options=asked)
    assert cell_of(wide(1, 10.0), failed).reason == f"round 1: unstable: {WIDE}; round 2: timeout: no answer"


def test_rows_that_do_not_say_what_was_asked_must_be_ok_themselves() -> None:
    assert cell_of(*(wide(number, 10.0, target=None) for number in range(1, 31))).status == "unstable"
    assert cell_of(round_of(1, 9.0, target=None), round_of(2, 11.0, target=None)).status == "ok"


@pytest.mark.parametrize(("rounds", "spread"), [(3, 0.003), (6, 0.008), (12, 0.012)])
def test_nineteen_of_twenty_believed_cells_are_as_near_the_true_time_as_was_asked(rounds: int, spread: float) -> None:
    """Processes differ by `spread` (relative standard deviation) around 10 ms; ±1% is asked."""
    rng = np.random.default_rng(rounds)
    believed = []
    for _ in range(400):
        rows = [round_of(number, 10 * (1 + spread * rng.standard_normal())) for number in range(1, rounds + 1)]
        cell = cell_of(*rows)
        if cell.status == "ok":
            believed.append(abs(cell.mean_ms / 10 - 1) <= 0.01)
    assert len(believed) >= 100
    assert np.mean(believed) >= 0.95


def test_draws_made_ahead_are_those_made_when_asked_for() -> None:
    """Side by side, and of what has samples; the others stay without."""
    rows = [round_of(number, 10.0 + number) for number in (1, 2)]
    rows += [synthetic.make_row(synthetic.CPU[0], 224, batch) for batch in (8, 16)]
    rows.append(synthetic.failed_row(synthetic.CPU[0], 224, 32, "oom", "no memory"))
    ahead, asked = build_cells(rows), build_cells(rows)
    draw_ahead(ahead.values())
    made = [key for key, cell in ahead.items() if "_bootstrap" in vars(cell)]
    assert [key.batch_size for key in made] == [1, 8, 16]
    for key in made:
        assert np.array_equal(ahead[key].draws, asked[key].draws)


def autocorrelated(seed: int, round_: int = 1) -> Row:
    """500 samples of 10 ms with 1% of noise, each with 0.8 of the deviation of the one before, and their interval."""
    noise = signal.lfilter([0.6], [1.0, -0.8], np.random.default_rng(seed).standard_normal(600))[100:]
    times_ms = (10 * (1 + 0.01 * noise)).tolist()
    samples, telemetry = {"device_ms": times_ms}, {"half_width_percent": half_width_percent(times_ms, T_975)}
    return synthetic.make_row(
        synthetic.CPU[0], 224, 1, round_=round_, samples=samples, same_as={}, telemetry=telemetry, options={}
    )


def test_the_interval_of_one_round_counts_that_samples_resemble_one_another() -> None:
    """It holds the true time as often as it says; that of independent samples does in 1 of 2 trials."""
    trials = [autocorrelated(seed) for seed in range(300)]
    assert np.median([cell_of(row).widening for row in trials]) == pytest.approx(
        np.sqrt((1 + 0.8) / (1 - 0.8)), rel=0.1
    )
    widened = sum(low <= 10.0 <= high for low, high in (cell_of(row).interval_ms for row in trials))
    alone = [stats.trimmed_mean_interval(np.asarray(row.samples["device_ms"])) for row in trials]
    assert widened >= 0.92 * len(trials)
    assert sum(low <= 10.0 <= high for low, high in alone) <= 0.6 * len(trials)


def test_the_interval_of_one_round_is_the_one_of_its_row() -> None:
    """summary.csv and the row's telemetry say the same."""
    row = autocorrelated(1)
    cell = cell_of(row)
    low, high = cell.interval_ms
    assert (high - low) / 2 / cell.mean_ms * 100 == pytest.approx(row.telemetry["half_width_percent"], rel=1e-9)


@pytest.mark.parametrize("resampled", [True, False])
def test_draws_of_one_round_are_as_wide(resampled: bool) -> None:
    """Within the process alone (no spread between them): by the bootstrap and by its limit."""
    cell = cell_of(autocorrelated(1))
    widened, plain = (
        Cell(cell.key, rows, "ok", "", cell.rounds, 0.0, resampled)
        for rows in (cell.rows, [replace(cell.rows[0], telemetry={})])
    )
    assert (plain.widening, widened.widening > 2) == (1.0, True)
    ratio = np.std(np.log(widened.draws)) / np.std(np.log(plain.draws))
    assert ratio == pytest.approx(widened.widening, rel=0.05)


@pytest.mark.parametrize("resampled", [True, False])
def test_draws_of_what_a_caller_waits_count_that_too(resampled: bool) -> None:
    row = autocorrelated(1)
    samples = {"device_ms": [8.0, 8.1, 8.2, 8.3], "host_ms": row.samples["device_ms"]}
    known = {"host_half_width_percent": row.telemetry["half_width_percent"]}
    key, rounds = cell_of(row).key, [np.asarray(samples["device_ms"])]
    widened, plain = (
        Cell(key, [replace(row, samples=samples, telemetry=telemetry)], "ok", "", rounds, 0.0, resampled)
        for telemetry in (known, {"half_width_percent": 50.0})
    )
    ratio = np.std(np.log(widened.host_draws())) / np.std(np.log(plain.host_draws()))
    assert ratio == pytest.approx(cell_of(row).widening, rel=0.05)


def test_a_caller_on_a_cpu_waits_what_the_device_takes() -> None:
    cell = cell_of(replace(autocorrelated(1), same_as={"host_ms": "device_ms"}))
    assert np.array_equal(cell.host_draws(), cell.draws)


def test_a_mean_is_no_less_certain_than_one_of_its_samples() -> None:
    """A drift: the harness, with one independent sample's worth, says ±9% where no sample is off by more than 1%."""
    times_ms = (10 * (1 + np.linspace(-0.01, 0.01, 400))).tolist()
    row = autocorrelated(1)
    known = half_width_percent(times_ms, T_975)
    drifting = cell_of(replace(row, samples={"device_ms": times_ms}, telemetry={"half_width_percent": known}))
    assert drifting.widening == 20.0
    low, high = drifting.interval_ms
    assert 0.5 < (high - low) / (times_ms[-1] - times_ms[0]) < 1.5
    assert known / 100 * 20.0 > 3 * (high - low)


def test_several_rounds_say_it_by_how_far_they_lie_apart() -> None:
    assert cell_of(*(autocorrelated(number, number) for number in (1, 2, 3))).widening == 1.0


@pytest.mark.parametrize("change", [{"started_at": "2026-11-24T10:00:07Z"}, {"device": "another"}, {"run_id": "b"}])
def test_runs_that_are_called_alike_do_not_share_their_draws(change: dict[str, str]) -> None:
    """Draws that move together would make the interval of their ratio too narrow."""
    row = round_of(1, 10.0)
    first, second = cell_of(row).draws, cell_of(replace(row, **change)).draws
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert np.array_equal(first, cell_of(row).draws)


def test_processes_differ_more_in_what_a_gpu_does_in_less_than_a_millisecond() -> None:
    """2% against 0.5%, each corrected by what the run measured twice; a CPU has one number."""

    def twice(clock: str, batch: int, ms: float) -> list[Row]:
        model = synthetic.CPU[0]
        again = replace(model, variant=model.variant + AGAIN)
        return [
            synthetic.make_row(each, 224, batch, clock=clock, samples={"device_ms": [factor * ms] * 30}, same_as={})
            for each, factor in ((model, 1.0), (again, 1.01))
        ]

    def spread_of(*rows: Row) -> list[tuple[bool, float]]:
        return [(cell.is_short, cell.spread) for cell in build_cells(rows).values()]

    once = np.log(1.01) ** 2 / 2
    (long, short) = spread_of(*twice("cuda_events", 1, 5.0), *twice("cuda_events", 8, 0.5))
    assert long == (False, pytest.approx(np.sqrt((8 * 0.005**2 + once) / 9)))
    assert short == (True, pytest.approx(np.sqrt((8 * 0.02**2 + once) / 9)))
    assert spread_of(*twice("cpu", 1, 0.5)) == [long]
