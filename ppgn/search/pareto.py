"""Several scores at once: which rows no other row beats, and in what order the others follow."""

from __future__ import annotations

import torch
from torch import Tensor


def beaten(scores: Tensor) -> Tensor:
    """Scores (N, K) -> (N, N), whether row i is beaten by row j: nowhere better and somewhere worse."""
    left, right = scores[:, None], scores[None]
    return (right >= left).all(2) & (right > left).any(2)


def front(scores: Tensor) -> Tensor:
    """The rows of finite scores (N, K) that no other row beats, (N,) bool; a row with a score that is none is not."""
    known = scores.isfinite().all(1)
    return known & ~beaten(scores.where(known[:, None], -torch.inf)).any(1)


def fitness(scores: Tensor) -> Tensor:
    """Scores (N, K) -> one number a row, (N,) float64, more being better; NaN where one of the scores is none.

    A single score is itself. Of several, rows of the first front are best, then those of the front without these, and
    so on; within a front those with the most room around them, the extreme ones first.
    Source: non-dominated sorting and crowding distance (Deb et al. 2002, NSGA-II).
    """
    scores = scores.double()
    known = scores.isfinite().all(1)
    if scores.shape[1] == 1:
        return scores[:, 0].where(known, torch.nan)
    found = torch.full_like(scores[:, 0], torch.nan)
    left, level = known.clone(), 0
    while left.any():
        rows = left.nonzero()[:, 0]
        best = rows[front(scores[rows])]
        room = crowding(scores[best])
        found[best] = room / (1 + room) - level  # within a front from 0 to 1
        found[best[room.isinf()]] = 1.0 - level
        left[best] = False
        level += 2
    return found


def crowding(scores: Tensor) -> Tensor:
    """The room around each row of a front (N, K): the gaps between its neighbours, summed over scores; inf at ends."""
    room = torch.zeros_like(scores[:, 0])
    for column in scores.T:
        order = column.argsort(stable=True)
        span = (column[order[-1]] - column[order[0]]).clamp_min(1e-12)
        room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
        room[order[[0, -1]]] = torch.inf
    return room
