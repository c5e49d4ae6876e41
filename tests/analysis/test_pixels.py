"""The pixel-count law: a known exponent comes back, and a departure is found with its cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.facts import gather_facts
from analysis.load import Run
from analysis.pixels import Departure, departures, pixel_rates, small_batch
from analysis.report import render
from analysis.study import Study, judge
from harness.schema import Row
from tests.analysis import synthetic

SIZES = (224, 256, 384, 512)
MODEL = synthetic.Model("pytorch", "eager", "fp16", 0.02, 0.02)


def study_of(rows: list[Row]) -> Study:
    return judge(Run("x", Path("x"), rows))


def rows_of(exponent: float, batches: tuple[int, ...] = (16, 64, 256), noise: float = 0.005, **changes: object) -> list:
    """Rows whose FPS at large batches falls as size^-exponent."""
    model = replace(MODEL, noise=noise)
    return [
        synthetic.make_row(model, s, b, count=30, factor=(s / 224) ** (exponent - 2), **changes)
        for s in SIZES
        for b in batches
    ]


def only(study: Study, size: int) -> Departure:
    (found,) = [each for each in departures(study) if each.image_size == size]
    return found


@pytest.mark.parametrize("exponent", [1.6, 2.0, 2.4])
@pytest.mark.parametrize("noise", [0.005, 0.05])
def test_a_known_exponent_comes_back_within_its_interval(exponent: float, noise: float) -> None:
    (line,) = pixel_rates(study_of(rows_of(exponent, noise=noise)), SIZES)
    assert line.exponent == pytest.approx(exponent, abs=0.05)
    assert line.low - 0.01 < exponent < line.high + 0.01


def test_under_the_law_pixel_rates_are_level_and_nothing_departs() -> None:
    """0.02 ms an image of 224 x 224 pixels is 2509 megapixels a second; b^0.99 makes it 5% more at batch 256."""
    study = study_of(rows_of(2.0))
    (line,) = pixel_rates(study, SIZES)
    assert line.rates == pytest.approx([2650] * 4, rel=0.02)
    assert departures(study) == []


def test_large_images_that_fall_behind_depart_and_the_rows_may_not_say_why() -> None:
    found = departures(study_of(rows_of(2.4)))
    assert [each.image_size for each in found] == [512, 384, 256]
    assert found[0].best_size == 224
    assert found[0].share == pytest.approx((512 / 224) ** -0.4, rel=0.02)
    assert found[0].low < found[0].share < found[0].high
    assert {each.cause for each in found} == {"unknown"}


def test_small_images_that_wait_for_the_host_are_launch_bound_with_the_numbers() -> None:
    model = replace(MODEL, overhead_ms=1.4)
    rows = [
        synthetic.make_row(model, s, b, clock="cuda_events", telemetry={"enqueue_ms": 1.45}, executed={"graph": False})
        for s in (224, 512) for b in (1, 4, 8)
    ]  # fmt: skip
    found = only(study_of(rows), 224)
    assert (found.cause, found.enqueue_ms) == ("launch", 1.45)
    assert found.line["mean_ms"] == pytest.approx(1.4 + 0.16, rel=0.05)


def test_a_size_still_growing_at_its_largest_batch_has_too_little_work() -> None:
    rows = [synthetic.make_row(replace(MODEL, overhead_ms=1.4), s, b) for s in (224, 512) for b in (1, 8, 32)]
    assert only(study_of(rows), 224).cause == "growing"


def test_the_fixed_time_of_a_call_is_told_where_a_curve_knows_it() -> None:
    batches = (1, 4, 16, 64, 80, 96, 104)
    rows = [synthetic.make_row(replace(MODEL, overhead_ms=0.3), s, b, count=30) for s in (224, 512) for b in batches]
    found = only(study_of(rows), 224)
    assert found.cause == "fixed"
    assert found.fixed_ms == pytest.approx(0.3, rel=0.15)


def test_the_recorded_limiter_is_the_cause_where_nothing_else_is() -> None:
    study = study_of(rows_of(2.4))
    bound = replace(study, table=study.table.assign(limiter="bandwidth-bound"))
    assert only(bound, 512).cause == "bandwidth"


SKIPPED = "two batch sizes in a row did not raise FPS by 3% (`saturation_percent`)"


def ended_rows(reason: str = SKIPPED) -> list[Row]:
    """At 512 px batch 4 and 8 are slower than batch 1, and 64 was not tried."""
    rows = [synthetic.make_row(MODEL, size, batch, count=30) for size in (224, 384) for batch in (1, 4, 8, 64)]
    slow = {1: 2.0, 4: 5.0, 8: 4.0}
    rows += [synthetic.make_row(MODEL, 512, batch, count=30, factor=factor) for batch, factor in slow.items()]
    return [*rows, synthetic.failed_row(MODEL, 512, 64, "skipped", reason)]


def test_batches_that_were_skipped_are_no_proof_of_poor_kernels() -> None:
    study = study_of(ended_rows())
    compute = replace(study, table=study.table.assign(limiter="compute-bound"))
    found = only(compute, 512)
    assert (found.cause, found.line["batch_size"], found.ended_batch) == ("compute", 1, 8)
    facts = gather_facts(compute, [])
    english, russian = (render(facts, language).replace("\u00a0", " ") for language in ("en", "ru"))
    assert "kernels for this size and batch 1 are less efficient.\n  Batches above 8 were skipped" in english
    assert "): PyTorch eager fp16 at 512 px (measured to batch 8). Their best batch may be among" in english
    assert "| 1 (ended at 8) | 1–1 |" in english
    assert "ядра для этого размера и батча 1 менее эффективны.\n  Батчи больше 8 пропущены" in russian
    assert "PyTorch eager fp16 при 512 пикс. (измерено до батча 8). Лучший для них батч может быть среди" in russian
    assert "| 1 (прекращено на 8) | 1–1 |" in russian


def test_batches_that_found_no_memory_are_not_called_skipped_for_saturation() -> None:
    study = study_of(ended_rows("batch 32 of this group ran out of memory"))
    assert only(study, 512).ended_batch is None
    assert not study.saturation["ended_early"].any()
    assert "larger ones were skipped" not in render(gather_facts(study, []), "en")


def test_missing_cells_leave_gaps_and_the_rest_stands() -> None:
    rows = [r for r in rows_of(2.0) if (r.job.image_size, r.job.batch_size) != (256, 256)]
    rows = [r for r in rows if r.job.image_size != 384]
    (line,) = pixel_rates(study_of(rows), SIZES)
    assert [value > 0 for value in line.rates] == [True, True, False, True]
    assert line.exponent == pytest.approx(2.0, abs=0.05)


def test_sizes_apart_or_none_have_no_law() -> None:
    apart = [synthetic.make_row(MODEL, 224, 1), synthetic.make_row(replace(MODEL, backend="openvino"), 384, 1)]
    for rows in (apart, [synthetic.failed_row(MODEL, 224, 1, "crashed", "died")]):
        study = study_of(rows)
        assert pixel_rates(study, SIZES) == []
        assert departures(study) == []
        assert small_batch(study.ranked) is None


def test_facts_hold_the_best_batch_of_the_fastest_approach_at_each_size(study: Study) -> None:
    optimal = gather_facts(study, [])["batching"]["optimal"]
    fastest = study.ranked.loc[study.ranked.groupby("image_size")["fps"].idxmax()]
    assert [(point["image_size"], point["contender"], point["best_batch"]) for point in optimal] == list(
        zip(fastest["image_size"], fastest["contender"], fastest["batch_size"], strict=True)
    )
