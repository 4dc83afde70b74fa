"""Excerpts are what a hidden unit sees of the photographs that excite it most."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ppgn.contracts import Samples
from ppgn.visualize.pictures import Pictures, drawings


def test_pictures_are_taken_as_photographs_are() -> None:
    found = Pictures("some", torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8), ["a", "b"])
    assert len(found) == 2
    assert found.name(1) == "b"
    assert found.take([1, 0], 4).float().mean((1, 2, 3)).tolist() == [1, 0]


def test_drawings_are_those_of_the_first_seeds() -> None:
    def draw(seeds: Iterable[int], **options: object) -> Samples:
        listed = tuple(seeds)
        x = torch.full((len(listed), 3, 4, 4), 0.5)
        return Samples(x, torch.zeros(len(listed), 2), torch.zeros(len(listed)), listed, (0, 0), (1, 1))

    found = drawings(draw, 2, sampler="annealed")
    assert found.names == ["drawing 0", "drawing 1"]
    assert found.take([0], 4).unique().tolist() == [128]
