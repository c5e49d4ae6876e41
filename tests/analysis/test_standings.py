"""Standings: counts of all cells; means and extremes only over a baseline that they can rest on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.facts import gather_facts
from analysis.load import Run
from analysis.report import render
from analysis.standings import find_doubtful_baselines, find_standings
from analysis.study import Study, judge
from harness.schema import Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]
WAITING = {"telemetry": {"enqueue_ms": 7.9}}  # of 8 ms
SHAKY = {"status": "unstable", "reason": "wide"}


def study_of(rows: list[Row]) -> Study:
    return judge(Run("x", Path("x"), rows))


def at(model: synthetic.Model, size: int, batch: int, ms: float, **changes: object) -> Row:
    """A row whose every time is `ms` within 1%."""
    samples = {"device_ms": [ms, ms * 1.01] * 10}
    return synthetic.make_row(model, size, batch, samples=samples, same_as={}, **changes)


def test_standings_count_and_average_geometrically() -> None:
    rows = [at(EAGER, 224, b, 8.0) for b in (1, 2, 4)] + [
        at(FAST, 224, b, t) for b, t in ((1, 2.0), (2, 8.0), (4, 16.0))
    ]
    (standing,) = find_standings(study_of(rows))
    assert (standing.wins, standing.ties, standing.losses) == (1, 1, 1)
    assert standing.geometric_mean == pytest.approx((4.0 * 1.0 * 0.5) ** (1 / 3))


def doubtful_rows() -> list[Row]:
    """Speedups 4, 16 (the baseline waits for the host), 1/4 (it is unstable) and 1, at batches 1, 2, 4 and 8."""
    times = ((1, 2.0, {}), (2, 0.5, WAITING), (4, 32.0, SHAKY), (8, 8.0, {}))
    baseline = [at(EAGER, 224, batch, 8.0, **changes) for batch, _, changes in times]
    return baseline + [at(FAST, 224, batch, ms) for batch, ms, _ in times]


def test_launch_bound_baselines_count_but_set_no_mean_and_no_extreme() -> None:
    study = study_of(doubtful_rows())
    (standing,) = find_standings(study)
    assert (standing.cells, standing.wins, standing.ties, standing.losses) == (4, 2, 1, 1)
    assert standing.geometric_mean == pytest.approx((4.0 * 0.25 * 1.0) ** (1 / 3))
    assert (standing.smallest, standing.largest) == (pytest.approx(0.25), pytest.approx(4.0))
    doubtful = find_doubtful_baselines(study)
    assert (doubtful.launch, doubtful.unstable) == ({(224, 2)}, {(224, 4)})


def test_an_extreme_that_rests_on_an_unstable_baseline_is_known_as_such() -> None:
    (standing,) = find_standings(study_of(doubtful_rows()))
    assert standing.smallest_rests_on_noise
    assert not standing.largest_rests_on_noise


def test_a_launch_bound_baseline_that_is_unstable_too_is_told_once() -> None:
    rows = [at(EAGER, 224, 1, 8.0, **WAITING, **SHAKY), at(FAST, 224, 1, 2.0)]
    doubtful = find_doubtful_baselines(study_of(rows))
    assert (doubtful.launch, doubtful.unstable) == ({(224, 1)}, set())


def test_without_a_sound_baseline_there_is_neither_mean_nor_extreme() -> None:
    """And what has a mean comes first."""
    rows = [at(EAGER, 224, 1, 8.0, **WAITING), at(EAGER, 384, 1, 8.0)]
    rows += [at(FAST, 224, 1, 2.0), at(synthetic.CPU[6], 384, 1, 16.0)]
    sound, without = find_standings(study_of(rows))
    assert (sound.contender, without.contender) == ("openvino/default/fp32", "onnx_runtime/default/fp32")
    assert all(math.isnan(value) for value in (without.geometric_mean, without.smallest, without.largest))
    assert without.wins == 1


def test_what_is_left_out_is_said_and_marked() -> None:
    english, russian = (
        render(gather_facts(study_of(doubtful_rows()), []), language).replace("\u00a0", " ")
        for language in ("en", "ru")
    )
    assert "leave out 1 pair of image size and batch at which the baseline was launch-bound" in english
    assert "At 1 pair of image size and batch the baseline was unstable" in english
    assert "| 1.00× | 0.25× † | 4.00× |" in english
    assert "не учитывают 1 сочетание размера изображения и батча, при которых база ограничена запуском" in russian
    assert "Замер базы нестабилен при 1 сочетании размера изображения и батча" in russian
    assert "| 1,00× | 0,25× † | 4,00× |" in russian
    for text in (english, russian):
        marked = [line for line in text.splitlines() if line.startswith("| 224 | ") and "†" in line]
        assert [line.split(" | ")[1] for line in marked] == ["2", "4"]
        assert all("ONNX Runtime" in line for line in marked)


def test_sound_baselines_need_no_words() -> None:
    rows = [at(EAGER, 224, 1, 8.0), at(FAST, 224, 1, 2.0)]
    text = render(gather_facts(study_of(rows), []), "en")
    assert "†" not in text
    assert "leave out" not in text
