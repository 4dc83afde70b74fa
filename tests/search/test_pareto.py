"""Several scores: fronts, their order, and room within a front."""

from __future__ import annotations

import torch

from ppgn.search import pareto

SCORES = torch.tensor([[0.0, 4], [3, 3], [4, 0], [2, 2], [1, 1], [3.2, 2.9], [torch.nan, 9]], dtype=torch.float64)


def test_the_front_is_what_nobody_beats() -> None:
    assert pareto.front(SCORES).tolist() == [True, True, True, False, False, True, False]
    assert pareto.front(torch.ones(3, 2)).all()  # equals beat no one


def test_fronts_come_in_order_and_ends_first() -> None:
    fitness = pareto.fitness(SCORES)
    assert fitness[6].isnan()
    order = fitness[:6].argsort(descending=True, stable=True).tolist()
    assert set(order[:2]) == {0, 2}
    assert set(order[2:4]) == {1, 5}
    assert order[4:] == [3, 4]


def test_one_score_is_itself() -> None:
    scores = torch.tensor([[1.5], [torch.inf], [-2.0]])
    assert pareto.fitness(scores)[[0, 2]].tolist() == [1.5, -2.0]
    assert pareto.fitness(scores)[1].isnan()


def test_room_counts_gaps_on_both_sides() -> None:
    room = pareto.crowding(torch.tensor([[0.0, 4], [1, 3], [2, 2], [4, 0]]))
    assert room[[0, 3]].isinf().all()
    assert room[1:3].tolist() == [1.0, 1.5]
