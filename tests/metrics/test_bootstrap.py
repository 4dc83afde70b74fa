"""Figures and their intervals over resamples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppgn.metrics import bootstrap


def test_the_mean_and_its_interval() -> None:
    values = torch.arange(100.0)
    found = bootstrap.mean(values)
    assert found.value == 49.5
    half = 1.96 * values.std().item() / 10
    assert (found.low, found.high) == (pytest.approx(49.5 - half, abs=1), pytest.approx(49.5 + half, abs=1))
    assert bootstrap.mean(values) == found


def test_draws_are_resamples_with_replacement() -> None:
    weights = bootstrap.draws(50)
    assert weights.shape == (1000, 50)
    assert (weights.sum(1) == 50).all()
    assert weights.var().item() == pytest.approx(1 - 1 / 50, rel=0.05)


def test_median_is_the_lower_of_two_in_the_middle() -> None:
    none = torch.empty(0, 4)
    assert bootstrap.median(torch.tensor([7.0, 1, 5, 3]), none).value == 3
    assert bootstrap.median(torch.tensor([9.0, 1, 5]), none[:, :3]).value == 5
    weights = bootstrap.draws(40)
    values = torch.arange(40.0)
    expected = [float(torch.repeat_interleave(values, row.long()).sort().values[19]) for row in weights]
    found = bootstrap.median(values, weights)
    assert (found.low, found.high) == tuple(np.quantile(expected, [0.025, 0.975]))


def test_p_is_the_share_of_signs_that_do_as_well() -> None:
    assert bootstrap.beyond_chance(torch.ones(4)) == pytest.approx(1 / 16, abs=0.01)
    assert bootstrap.beyond_chance(torch.tensor([1.0, -1.0])) == pytest.approx(0.75, abs=0.02)
    assert bootstrap.beyond_chance(-torch.ones(9)) == 1
    assert bootstrap.beyond_chance(torch.ones(40)) == pytest.approx(1e-4, rel=0.01)
