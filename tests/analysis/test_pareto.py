"""Fronts of accuracy and speed: known ones come back, ties stay, and needs are answered from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.load import Run
from analysis.pareto import Need, answer_need, best_size, exceeds, pareto_front
from analysis.study import Study, judge
from harness.schema import Parity, Row
from tests.analysis import synthetic

SLOW, FAST = synthetic.CPU[0], synthetic.CPU[4]
FAST_NAME = "onnx_runtime/default/fp32"
INT8 = synthetic.Model("openvino", "default", "int8", 0.5, 4.0)


def row(model: synthetic.Model, size: int, batch: int, right: float, **changes: object) -> Row:
    """A row whose outputs are `right` of the time, on 1000 images, and differ from fp32's where they are wrong."""
    parity = Parity(1000, 0.0, 0.0, 1.0 if model.precision == "fp32" else 0.97, right)
    return synthetic.make_row(model, size, batch, parity=parity, **changes)


def study_of(rows: list[Row], accuracies: dict[int, float] | None = None, images: int = 10_000) -> Study:
    weights = {s: {"accuracy": a, "data": {"val_images": images}} for s, a in (accuracies or {}).items()}
    return judge(Run("x", Path("x"), rows, weights=weights))


def front(study: Study, column: str = "fps_front") -> set[tuple[str, int]]:
    lines = study.table[study.table[column].map(lambda on: on is True)]
    return set(zip(lines["contender"], lines["image_size"], strict=True))


def brute(gain: np.ndarray, accuracy: np.ndarray) -> list[bool]:
    """Pareto's own definition, for exact numbers."""
    points = list(zip(gain, accuracy, strict=True))
    return [not any(a >= x and b >= y and (a > x or b > y) for a, b in points) for x, y in points]


def test_without_intervals_it_is_the_textbook_front() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        gain, accuracy = rng.integers(0, 8, (2, 12)).astype(float)
        found = pareto_front(gain, np.zeros(12), accuracy, np.zeros((12, 12)))
        assert found.tolist() == brute(gain, accuracy)


def test_a_front_is_never_empty() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        halves = rng.uniform(0, 0.5, 9)
        gain, accuracy = rng.standard_normal((2, 9))
        assert pareto_front(gain, rng.uniform(0, 0.5, 9), accuracy, np.hypot(halves[:, None], halves)).any()


def test_a_difference_within_the_interval_counts_as_none() -> None:
    """Equal accuracy: 3% faster wins with intervals of 1%, and ties with intervals of 5%."""
    gain, same = np.log([1.03, 1.0]), np.zeros(2)
    assert pareto_front(gain, np.full(2, 0.01), same, np.zeros((2, 2))).tolist() == [True, False]
    assert pareto_front(gain, np.full(2, 0.05), same, np.zeros((2, 2))).tolist() == [True, True]


@pytest.mark.parametrize(("noise", "count"), [(0.002, 60), (0.03, 60)])
def test_a_known_front_comes_back(noise: float, count: int) -> None:
    """At 224 px the fast fp32 and the lossy int8, at 384 px the fast fp32; slower and no better ones are off it."""
    truth = {224: 0.80, 384: 0.90, 512: 0.90}
    rows = [
        row(model, size, batch, truth[size] - loss, count=count)
        for model, loss in ((SLOW, 0.0), (FAST, 0.0), (INT8, 0.03))
        for size in truth
        for batch in (1, 8)
    ]
    study = study_of(rows, truth)
    expected = {("onnx_runtime/default/fp32", 224), ("openvino/default/int8", 224)}
    expected |= {("onnx_runtime/default/fp32", 384), ("openvino/default/int8", 384)}
    assert front(study) == expected
    assert front(study, "latency_front") == expected
    at_384 = study.table.query("contender == 'openvino/default/int8' and image_size == 384")
    assert at_384["expected_accuracy"].to_numpy(float) == pytest.approx(0.87)


def test_equal_speed_and_accuracy_share_the_front() -> None:
    twin = synthetic.Model("openvino", "default", "fp32", FAST.overhead_ms, FAST.image_ms)
    rows = [row(model, 224, 8, 0.9) for model in (SLOW, FAST, twin)]
    assert front(study_of(rows)) == {("onnx_runtime/default/fp32", 224), ("openvino/default/fp32", 224)}


def test_a_larger_image_must_be_more_accurate_by_more_than_the_noise_of_its_validation_images() -> None:
    rows = [row(FAST, size, 8, 0.9) for size in (224, 384)]
    accuracies = {224: 0.90, 384: 0.92}
    assert front(study_of(rows, accuracies, images=1000)) == {(FAST_NAME, 224)}
    assert front(study_of(rows, accuracies, images=100_000)) == {(FAST_NAME, 224), (FAST_NAME, 384)}


@pytest.mark.parametrize(
    "rows",
    [
        [row(FAST, 224, 8, 0.9)],
        [row(FAST, 224, 8, 0.9), synthetic.failed_row(SLOW, 384, 8, "crashed", "died")],
        [row(FAST, 224, 8, 0.9, count=1), row(SLOW, 224, 8, 0.9, count=1)],
        [row(FAST, 224, 8, 0.9, samples={"device_ms": [1.0, 1.1]}, same_as={})],
    ],
)  # fmt: skip
def test_poor_runs_have_a_front_too(rows: list[Row]) -> None:
    assert (FAST_NAME, 224) in front(study_of(rows))


def test_without_accuracies_or_measurements_there_is_no_front() -> None:
    unknown = [synthetic.make_row(FAST, 224, 8, parity=None)]
    failed = [synthetic.failed_row(SLOW, 224, 8, "crashed", "died")]
    for rows in (unknown, failed):
        study = study_of(rows)
        assert front(study) == set()
        assert study.table["expected_accuracy"].isna().all()


def test_a_need_is_answered_per_size_and_by_the_most_images_per_second() -> None:
    truth = {224: 0.80, 384: 0.90}
    study = study_of([row(m, s, b, truth[s]) for m in (SLOW, FAST) for s in truth for b in (1, 8)], truth)
    anything = answer_need(study.table, Need())
    assert best_size(anything) == 224
    accurate = answer_need(study.table, Need(min_accuracy=0.85))
    assert accurate[224] is None
    assert accurate[384] is not None
    assert (best_size(accurate), accurate[384]["contender"]) == (384, FAST_NAME)
    quick = answer_need(study.table, Need(max_ms=15))
    assert quick[224] is not None
    assert (quick[224]["contender"], quick[224]["batch_size"], quick[384]) == (FAST_NAME, 1, None)
    nothing = answer_need(study.table, Need(min_accuracy=0.85, max_ms=15))
    assert nothing == {224: None, 384: None}
    assert best_size(nothing) is None


def test_bare_numbers_exceed_only_when_no_worse_in_either() -> None:
    one, other = {"fps": 2.0, "expected_accuracy": 0.9}, {"fps": 1.0, "expected_accuracy": 0.9}
    assert exceeds(one, other, "fps")
    assert not exceeds(other, one, "fps")
    assert not exceeds(one, dict(one), "fps")
    assert exceeds({"ms": 1.0, "expected_accuracy": 0.9}, {"ms": 2.0, "expected_accuracy": 0.8}, "ms")
