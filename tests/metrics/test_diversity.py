"""Cosine distances by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ppgn.errors import InputError
from ppgn.metrics.diversity import between_classes, paired, within_class

# Two of class 7 at right angles, two of class 3 at 60°, and one opposite to the first row alone in class 5.
ROOT3 = math.sqrt(3)
FEATURES = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 5.0], [0.5, ROOT3 / 2], [-1.0, 0.0]])
CLASSES = [7, 3, 7, 3, 5]


def test_rows_are_compared_pair_by_pair() -> None:
    x, y = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    torch.testing.assert_close(paired(x, y), torch.tensor([1.0, 0.0]).double())


def test_within_class_by_hand() -> None:
    alone, right_angle, sixty = within_class(FEATURES, CLASSES)[[1, 2, 0]]
    assert torch.isnan(alone)
    assert right_angle.item() == pytest.approx(1)
    assert sixty.item() == pytest.approx(0.5)


def test_between_classes_by_hand() -> None:
    found = between_classes(FEATURES, CLASSES)
    # class 5, at 180°, 180°, 90°, 120° from the others
    assert found[1].item() == pytest.approx((2 + 2 + 1 + 1.5) / 4)
    # class 7: (2, 0) from class 3 at 0°, 60° and from 5 at 180°; (0, 5) at 90°, 30°, 90°
    assert found[2].item() == pytest.approx((0 + 0.5 + 2 + 1 + (1 - ROOT3 / 2) + 1) / 6)


def test_between_classes_of_one_class_is_nothing() -> None:
    assert torch.isnan(between_classes(FEATURES, [1] * 5)).all()


def test_equal_rows_are_0_apart() -> None:
    assert within_class(torch.ones(3, 4), [0, 0, 0]).tolist() == pytest.approx([0], abs=1e-12)


def test_every_row_needs_a_class() -> None:
    with pytest.raises(InputError, match="5 rows of features have 2 classes; give one for each"):
        within_class(FEATURES, [0, 1])
