"""The optimiser of Multifaceted Feature Visualization: phases, windows, margins and schedules as published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppgn.networks import own
from ppgn.samplers.noise import Noise
from ppgn.visualize.multifaceted import FROM_IMAGE, FROM_NOISE, Multifaceted, shared
from ppgn.visualize.subject import Subject, subject


@pytest.fixture(scope="module")
def unit() -> Subject:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return subject(1, network=own.load(body, 32))


def test_evaluations_are_shared_as_published_and_all_used() -> None:
    assert shared(530, [p.iterations for p in FROM_NOISE]) == [190, 150, 150, 30, 10]
    assert sum(shared(17, [p.iterations for p in FROM_IMAGE])) == 17


@pytest.mark.parametrize("start", [None, 0.5])
def test_it_climbs_and_counts(unit: Subject, start: float | None) -> None:
    begin = None if start is None else torch.full((2, 3, 40, 40), start)
    counted: list[int] = []
    x = Multifaceted(begin, iterations=3)(unit, Noise([0, 1]), 40, 20, counted.append)
    assert x.shape == (2, 3, 40, 40)
    assert sum(counted) == 20
    assert (unit(x) > unit(torch.full((2, 3, 40, 40), 0.6))).all()
    alone = Multifaceted(begin if begin is None else begin[1:], iterations=3)(unit, Noise([1]), 40, 20, counted.append)
    assert torch.allclose(alone, x[1:], atol=1e-4)


def test_the_schedule_as_released_and_the_true_line() -> None:
    released, line = Multifaceted(), Multifaceted(schedule="linear")
    assert [released._at((0.4, 2.0), i, 4) for i in range(4)] == pytest.approx([0.3, 0.8, 1.3, 1.8])
    assert [line._at((0.4, 2.0), i, 4) for i in range(4)] == pytest.approx([0.4, 0.4 + 1.6 / 3, 0.4 + 3.2 / 3, 2.0])
    assert [released._at((6, 3), i, 4, whole=True) for i in range(4)] == [6, 5, 4, 3]
    assert [released._at((1, 2), i, 190, whole=True) for i in (0, 100, 189)] == [1, 1, 1]


def test_the_margin_rests() -> None:
    class All(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)

    phase = FROM_IMAGE[2]  # a margin of 50 of 227
    x = torch.full((1, 3, 24, 24), 100.0)
    out = Multifaceted(iterations=0)._step(subject(0, network=own.load(All(), 32)), phase, x, 24, Noise([0]), 0, 5)
    moved = (out - x).abs().amax((0, 1)) > 0
    assert moved[5:-5, 5:-5].all()
    assert moved.sum() == 14 * 14
