"""Regions, reductions and the way back, against their rules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.inpainting.problem import Problem, Region

PHOTO = torch.randint(256, (3, 4, 4), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def rectangle(shape: tuple[int, int], top: int, left: int, height: int, width: int) -> Tensor:
    hole = torch.zeros(shape, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


@pytest.mark.parametrize(
    ("hole", "region"),
    [
        (rectangle((100, 200), 40, 90, 20, 20), Region(30, 80, 40)),
        (rectangle((100, 200), 0, 190, 10, 10), Region(0, 180, 20)),  # moved into the picture
        (rectangle((100, 200), 30, 60, 40, 70), Region(0, 45, 100)),  # shrunk to its height
        (rectangle((100, 200), 20, 30, 60, 140), Region(-21, 29, 142)),  # beyond it, so that the hole fits
        (rectangle((64, 64), 16, 16, 32, 32), Region(0, 0, 64)),
        (rectangle((64, 64), 0, 30, 64, 31), Region(0, 0, 64)),  # from edge to edge, where nothing is known beyond
    ],
)
def test_regions(hole: Tensor, region: Region) -> None:
    assert Region.around(hole) == region


def test_known_pixels_alone_decide_what_a_reduced_image_shows() -> None:
    hole = rectangle((90, 130), 25, 30, 37, 41)
    photo = torch.full((3, 90, 130), 51, dtype=torch.uint8)
    photo[:, hole] = 255
    reduced = Problem.of(photo, hole, (16, 16))
    torch.testing.assert_close(reduced.image, torch.full((3, 16, 16), 0.2), rtol=0, atol=1e-3)
    torch.testing.assert_close(reduced.masked, torch.full((3, 16, 16), 0.2), rtol=0, atol=1e-3)
    side = reduced.region.side
    share = reduced.known.sum().item() / 256
    assert share == pytest.approx(1 - 37 * 41 / side**2, abs=0.03)


@pytest.mark.parametrize("hole", [rectangle((90, 130), 25, 30, 37, 41), rectangle((40, 130), 5, 0, 30, 128)])
def test_only_the_hole_changes_and_no_seam_shows(hole: Tensor) -> None:
    photo = torch.randint(100, 104, (3, *hole.shape), dtype=torch.uint8)
    before = photo.clone()
    completed = Problem.of(photo, hole, (16, 16)).complete(torch.full((3, 16, 16), 0.9))
    assert torch.equal(completed[:, ~hole], before[:, ~hole])
    assert torch.equal(photo, before)
    # A flat drawing has no gradient to give: the colours around continue.
    assert completed[:, hole].min() >= 99
    assert completed[:, hole].max() <= 104


@pytest.mark.parametrize(
    ("hole", "message"),
    [
        (torch.ones(4, 5, dtype=torch.bool), "the mask has 5x4 pixels, the image 4x4; give a mask of the image's size"),
        (torch.zeros(4, 4, dtype=torch.bool), "the mask has no hole"),
        (torch.ones(4, 4, dtype=torch.bool), "the hole covers the whole image"),
    ],
)
def test_holes_that_cannot_be(hole: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Problem.of(PHOTO, hole, (4, 4))
