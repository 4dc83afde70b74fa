"""Excerpts are what a hidden unit sees of the photographs that excite it most."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ppgn.contracts import Samples
from ppgn.networks import own
from ppgn.photographs import Photographs
from ppgn.visualize.pictures import Look, Pictures, drawings, excerpts


def test_excerpts_are_cropped_around_the_brightest_place(tmp_path: Path) -> None:
    photos = np.full((6, 32, 32, 3), 20, np.uint8)
    for number in (1, 4):  # a bright square, brighter in number 4
        photos[number, 8:16, 20:28] = 100 + 30 * number
    np.save(tmp_path / "val_images.npy", photos)
    bright = nn.Conv2d(3, 2, 4, 4)
    nn.init.ones_(bright.weight)
    nn.init.zeros_(bright.bias)
    network = own.load(nn.Sequential(bright, nn.Flatten(), nn.Linear(128, 3)), 32)
    look = Look(network, "0", Photographs.find(tmp_path), range(6), torch.device("cpu"))
    found = excerpts(look, 1, 2, 4, lambda rows, desc: rows)
    assert [name.rpartition("[")[2] for name in found.names] == ["4]", "1]"]
    assert found.pictures.shape == (2, 3, 32, 32)
    assert (found.pictures[0] == 220).all()
    assert (found.pictures[1] == 130).all()


def test_excerpts_at_an_edge_show_the_photograph_alone(tmp_path: Path) -> None:
    photos = np.full((2, 32, 32, 3), 20, np.uint8)
    photos[1, :6, :6] = 220
    np.save(tmp_path / "val_images.npy", photos)
    wide = nn.Conv2d(3, 1, 12, 4, padding=4)  # at place 0 it sees four rows and columns beyond the edge
    nn.init.ones_(wide.weight)
    network = own.load(nn.Sequential(wide, nn.Flatten(), nn.Linear(64, 3)), 32)
    look = Look(network, "0", Photographs.find(tmp_path), range(2), torch.device("cpu"))
    (seen,) = excerpts(look, 0, 1, 2, lambda rows, desc: rows).pictures
    assert (seen[:, 0, 0] == 220).all()
    assert (seen[:, -1, -1] == 20).all()


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
