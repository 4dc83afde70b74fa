"""The learning rate of trainings by one loss."""

from __future__ import annotations

import math

import pytest

from train.descent import warmed_cosine


def test_the_learning_rate_grows_and_falls() -> None:
    rates = [warmed_cosine(step, 4, 20) for step in range(21)]
    assert rates[0] == pytest.approx(0.25)
    assert rates[3:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 20) for step in range(3, 21)])
    assert rates[20] == pytest.approx(0)
    assert warmed_cosine(30, 4, 20) == pytest.approx(0)
    assert warmed_cosine(0, 0, 0) == pytest.approx(1)
