"""What accuracy a decision believes: training's record, the reference images, or each cell itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.decision.choice import decide
from analysis.decision.needs import Needs
from analysis.decision.relaxing import relax_each
from harness.schema import Parity
from tests.analysis.decisions import EAGER, FAST, FASTER, decided, rows_of, study_of


def test_accuracy_is_validation_less_what_the_precision_loses(tmp_path: Path) -> None:
    """INT8 answers 2 points fewer reference images right than fp32 does."""
    decision = decided(tmp_path, rows_of(EAGER, FASTER), {224: 0.85}, max_accuracy_drop=0.05)
    assert decision.accuracy_source == "validation"
    found = {option.key.precision: option.accuracy for option in decision.options}
    assert found["fp32"] == pytest.approx(0.85)
    assert found["int8"] == pytest.approx(0.83)


def test_without_training_records_the_reference_images_speak(tmp_path: Path) -> None:
    decision = decided(tmp_path, rows_of(EAGER, FASTER), min_accuracy=0.89)
    assert decision.accuracy_source == "reference"
    assert {option.key.precision for option in decision.eligible} == {"fp32"}


def test_without_fp32_each_cell_speaks_for_itself_and_disagreement_bounds_the_loss(tmp_path: Path) -> None:
    """int8: 0.88 of the reference images right, 1% of them of another class than in fp32."""
    decision = decided(tmp_path, rows_of(FASTER), min_accuracy=0.87)
    assert decision.accuracy_source == "own"
    assert decision.winner is not None
    assert decision.winner.accuracy == pytest.approx(0.88)
    assert decision.winner.accuracy_drop == pytest.approx(0.01)


def test_unknown_accuracy_meets_no_accuracy_need(tmp_path: Path) -> None:
    unlabelled = Parity(128, 1e-5, 1e-6, 1.0, None)
    study = study_of(tmp_path, rows_of(EAGER, FAST, parity=unlabelled))
    assert decide(study, Needs()).winner is not None
    decision = decide(study, Needs(min_accuracy=0.5))
    assert decision.winner is None
    assert decision.accuracy_source is None
    (limit,) = [e for e in decision.exclusions if e.limit.flag == "min_accuracy"]
    assert (limit.cells, limit.unknown) == (4, 4)
    assert list(relax_each(decision).values()) == [None]
