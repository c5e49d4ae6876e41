from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.effects import choose_size, law_batch, size_scaling
from analysis.facts import gather_facts
from analysis.findings import accuracy_loss, find_fastest, find_quickest
from analysis.load import Run
from analysis.study import Study, judge
from harness.schema import AGAIN, Parity, Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]


def study_of(rows: list[Row], accuracies: dict[int, tuple[float, int]] | None = None) -> Study:
    weights = {s: {"accuracy": a, "data": {"val_images": n}} for s, (a, n) in (accuracies or {}).items()}
    return judge(Run("x", Path("x"), rows, weights=weights))


def at(model: synthetic.Model, size: int, batch: int, ms: float, **changes: object) -> Row:
    """A row whose every time is `ms` within 1%."""
    samples = {"device_ms": [ms, ms * 1.01] * 10, "host_ms": [ms + 1, (ms + 1) * 1.01] * 10}
    return synthetic.make_row(model, size, batch, samples=samples, same_as={}, **changes)


def test_time_proportional_to_pixels_has_exponent_two_and_pixel_rate_one() -> None:
    study = study_of([at(EAGER, size, 1, size**2 / 1000) for size in (224, 384, 512)])
    (line,) = size_scaling(study, 1)
    assert line.exponent == pytest.approx(2.0)
    assert line.pixel_rate == pytest.approx(1.0)


def test_constant_time_has_exponent_zero_and_the_whole_pixel_rate() -> None:
    (line,) = size_scaling(study_of([at(EAGER, size, 1, 7.0) for size in (256, 512)]), 1)
    assert line.exponent == pytest.approx(0.0, abs=1e-9)
    assert line.pixel_rate == pytest.approx(4.0)


def test_sizes_are_compared_at_the_largest_batch_that_most_contenders_share() -> None:
    rows = [at(m, s, b, 5.0) for m in (EAGER, FAST) for s in (224, 384) for b in (1, 4)]
    assert law_batch(study_of([*rows, at(EAGER, 224, 64, 5.0)])) == 4
    assert law_batch(study_of([at(EAGER, 224, 64, 5.0)])) is None


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ({224: (0.90, 1000), 384: (0.93, 1000)}, 384),  # z = 2.4
        ({224: (0.90, 1000), 384: (0.92, 1000)}, 224),  # z = 1.6
        ({224: (0.90, 100_000), 384: (0.92, 100_000)}, 384),
        ({224: (0.95, 1000), 384: (0.90, 1000)}, 224),
        ({224: (0.80, 50), 384: (0.85, 5000)}, 224),  # z = 0.9; with 5,000 images for both it would be 6.6
    ],
)
def test_a_larger_size_has_to_be_significantly_better(accuracies: dict, chosen: int) -> None:
    choice = choose_size(study_of([at(EAGER, size, 1, 5.0) for size in (224, 384)], accuracies))
    assert choice is not None
    assert (choice.image_size, choice.basis, choice.source) == (chosen, "accuracy", "validation")


def test_reference_images_stand_in_for_missing_training_records() -> None:
    rows = [at(EAGER, s, 1, 5.0, parity=Parity(500, 0.0, 0.0, 1.0, a)) for s, a in ((224, 0.7), (384, 0.9))]
    choice = choose_size(study_of(rows, {224: (0.99, 1000)}))
    assert choice is not None
    assert (choice.image_size, choice.source, choice.images) == (384, "reference", 500)


def test_without_accuracies_speed_decides() -> None:
    choice = choose_size(study_of([at(EAGER, size, 1, 5.0, parity=None) for size in (224, 384)]))
    assert choice is not None
    assert (choice.image_size, choice.basis) == (224, "speed")


def test_winner_is_compared_with_the_best_of_another_library() -> None:
    rows = [at(EAGER, 224, 1, 10.0), at(replace(EAGER, variant="compile"), 224, 1, 8.0), at(FAST, 224, 1, 4.0)]
    winner = find_fastest(study_of(rows), 224)
    assert winner is not None
    assert winner.runner_up is not None
    assert (winner.cell["backend"], winner.runner_up.line["variant"]) == ("onnx_runtime", "compile")
    assert winner.runner_up.margin == pytest.approx(2.0)
    assert winner.runner_up.verdict == "faster"
    assert winner.runner_up.low < 2.0 < winner.runner_up.high
    assert winner.closest == winner.runner_up
    assert winner.ties == ()


def test_latency_is_judged_at_the_smallest_batch_by_what_the_caller_waits() -> None:
    rows = [at(EAGER, 224, 1, 10.0), at(FAST, 224, 1, 4.0), at(EAGER, 224, 8, 1.0)]
    quickest = find_quickest(study_of(rows), 224)
    assert quickest is not None
    assert (quickest.cell["backend"], quickest.cell["batch_size"]) == ("onnx_runtime", 1)
    assert quickest.closest is not None
    assert quickest.closest.margin == pytest.approx(11.0 / 5.0)


def test_accuracy_lost_by_a_lower_precision_is_told_with_the_fastest_that_loses_none() -> None:
    def accurate(share: float) -> Parity:
        return Parity(100, 0.0, 0.0, 1.0, share)

    rows = [
        at(EAGER, 224, 1, 10.0, parity=accurate(0.92)),
        at(FAST, 224, 1, 8.0, parity=accurate(0.92)),
        at(replace(FAST, precision="int8"), 224, 1, 2.0, parity=accurate(0.90)),
    ]
    study = study_of(rows)
    fastest = find_fastest(study, 224)
    assert fastest is not None
    loss = accuracy_loss(study, fastest.cell)
    assert loss is not None
    assert loss[0] == pytest.approx(0.02)
    assert loss[1]["contender"] == "onnx_runtime/default/fp32"
    assert accuracy_loss(study, loss[1]) is None


def test_a_contender_measured_twice_is_a_check_and_no_contender() -> None:
    again = replace(EAGER, variant="eager" + AGAIN)
    rows = [at(EAGER, 224, b, 10.0) for b in (1, 2)] + [at(again, 224, b, ms) for b, ms in ((1, 10.4), (2, 10.0))]
    study = study_of(rows)
    assert set(study.table["contender"]) == {"pytorch/eager/fp32"}
    check = study.self_check
    assert check is not None
    assert check.cells == 2
    assert check.ratio == pytest.approx(1.04**0.5)
    assert check.noise_floor_percent == pytest.approx(4.0)
    assert check.low < 1.04**0.5 < check.high
    assert gather_facts(study, [])["audit"]["self_ratio"] == pytest.approx(1.04**0.5)


def test_the_noise_floor_is_of_cells_that_were_ok_both_times() -> None:
    """A cell that calls itself unstable does not make the others doubtful; how far it lay off is said beside."""
    again = replace(EAGER, variant="eager" + AGAIN)
    rows = [at(EAGER, 224, b, 10.0) for b in (1, 2, 4)] + [at(again, 224, b, 10.05) for b in (2, 4)]
    rows.append(at(again, 224, 1, 13.0, status="unstable", reason="busy"))
    check = study_of(rows).self_check
    assert check is not None
    assert (check.cells, check.noise_floor_percent) == (2, pytest.approx(0.5))
    assert check.worst_percent == pytest.approx(30.0)
    audit = gather_facts(study_of(rows), [])["audit"]
    assert (audit["noise_floor_percent"], audit["noise_worst_percent"]) == (pytest.approx(0.5), pytest.approx(30.0))
