"""Groupings agree as they should; a drawing matches the facet whose pictures it is like."""

from __future__ import annotations

import pytest
import torch

from ppgn.errors import InputError
from ppgn.metrics.interpretability import adjusted_rand_index, facet_match


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
