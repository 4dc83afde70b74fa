"""Groupings agree as they should; a drawing matches the facet whose pictures it is like."""

from __future__ import annotations

import pytest
import torch

from ppgn.errors import InputError
from ppgn.metrics.interpretability import adjusted_rand_index, facet_match, likeness, machine_interpretability


def test_groupings_that_agree_whatever_their_numbers_are() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    assert adjusted_rand_index([1, 1, 0, 0], [0, 0, 1, 1]) == 1
    assert adjusted_rand_index([0, 1, 0, 1], [0, 0, 1, 1]) < 0.1
    with pytest.raises(InputError, match="3 and of 2"):
        adjusted_rand_index([0, 1, 2], [0, 1])


def test_a_drawing_matches_the_facet_it_points_to() -> None:
    pictures = [torch.tensor([[1.0, 0, 0], [1.0, 0.2, 0]]), torch.tensor([[0, 2.0, 0]])]
    drawn = torch.tensor([[[5.0, 0, 1], [0.1, 1, 0]], [[0, 1.0, 0.5], [0, 0.5, 0.5]]])
    assert facet_match(drawn, pictures).tolist() == [[True, False], [True, True]]


def test_likeness_is_the_mean_cosine_of_what_is_not_common() -> None:
    centre = torch.tensor([1.0, 1.0])
    shown = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    found = likeness(torch.tensor([[2.0, 1.0], [1.0, 0.0]]), shown, centre)
    torch.testing.assert_close(found, torch.tensor([0.5, -0.5]))


def test_the_score_is_the_share_of_pairs_the_right_way_round() -> None:
    high, low = torch.tensor([0.9, 0.2]), torch.tensor([0.1, 0.2, 0.5])
    assert float(machine_interpretability(high, low)) == pytest.approx((3 + 1 + 0.5) / 6)
    assert float(machine_interpretability(low, low)) == 0.5
    soft = machine_interpretability(torch.tensor([2.0]), torch.tensor([1.0]), alpha=0.16)
    assert float(soft) == pytest.approx(1 / (1 + 2.718281828**-0.16))
