"""Distances between logits, against scikit-learn, torch and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, max_error

from export.parity import TOLERANCES, accuracy, compare

REFERENCE = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
NEAR = REFERENCE + np.random.default_rng(1).normal(scale=0.3, size=REFERENCE.shape).astype(np.float32)


def test_a_distance_worked_out_by_hand() -> None:
    parity = compare(np.array([[3, 4], [0, 1]], np.float32), np.array([[3, 0], [0, 4]], np.float32))
    assert (parity.images, parity.max_abs, parity.rel_l2, parity.top1_agreement) == (2, 4.0, 1.0, 0.5)


def test_distances_agree_with_scikit_learn_and_torch() -> None:
    parity = compare(NEAR, REFERENCE)
    assert parity.max_abs == pytest.approx(max_error(REFERENCE.ravel().astype(float), NEAR.ravel().astype(float)))
    norm = torch.linalg.vector_norm
    near, reference = torch.from_numpy(NEAR).double(), torch.from_numpy(REFERENCE).double()
    assert parity.rel_l2 == pytest.approx(float(norm(near - reference) / norm(reference)))
    assert parity.top1_agreement == accuracy_score(REFERENCE.argmax(1), NEAR.argmax(1))


def test_accuracy_agrees_with_scikit_learn() -> None:
    labels = np.random.default_rng(2).integers(0, 10, 50)
    assert accuracy(REFERENCE, labels) == accuracy_score(labels, REFERENCE.argmax(1))


@pytest.mark.parametrize("precision", TOLERANCES)
def test_equal_logits_pass_and_nan_or_other_logits_fail_in_every_precision(precision: str) -> None:
    assert compare(REFERENCE, REFERENCE).failure(precision) is None
    nan = REFERENCE.copy()
    nan[3, 4] = np.nan
    assert "rel_l2 nan" in (compare(nan, REFERENCE).failure(precision) or "")
    assert "rel_l2" in (compare(-REFERENCE, REFERENCE).failure(precision) or "")


def test_close_logits_with_another_winner_fail_by_their_top_class() -> None:
    reference = np.array([[1.0, 1.0 - 1e-6]], np.float32)
    assert "top1_agreement 0.000" in (compare(reference[:, ::-1], reference).failure("fp32") or "")


def test_synthetic_images_are_judged_by_distance_alone() -> None:
    tie = np.array([[1.0, 1.0 - 1e-6]], np.float32)
    assert compare(tie[:, ::-1], tie).failure("fp32", natural=False) is None
    assert compare(-tie, tie).failure("fp32", natural=False) is not None


def test_a_half_precision_answer_is_not_taken_for_fp32() -> None:
    assert compare(REFERENCE.astype(np.float16).astype(np.float32), REFERENCE).failure("fp32") is not None


@pytest.mark.parametrize("shape", [(50, 9), (49, 10), (500,)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="need equal"):
        compare(np.zeros(shape, np.float32), REFERENCE)
