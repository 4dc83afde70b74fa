"""A hole in a photograph of any size: what a generator works on, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.blending import harmonic, poisson_blend

SURROUNDINGS = 2  # sides of the hole that a region is wide
EMPTY = 1e-6  # a pixel of which less is known counts as unknown
GREY = 128  # of a hole that is shown


@dataclass(frozen=True)
class Region:
    """A square of a picture, in its pixels, that may reach beyond the picture."""

    top: int
    left: int
    side: int

    @staticmethod
    def around(hole: Tensor) -> Region:
        """The square twice as wide as a hole (H, W), bool, around its middle, moved and shrunk into the picture.

        It takes in the whole hole and one pixel around it, if need be beyond the picture's edge; not where the hole
        goes from edge to edge.
        """
        height, width = hole.shape
        rows, columns = (hole.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
        extents = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        needed = (extent + 2 * (extent < length) for extent, length in zip(extents, hole.shape, strict=True))
        side = max(min(SURROUNDINGS * max(extents), height, width), *needed)
        return Region(_begin(rows, side, height), _begin(columns, side, width), side)

    def box(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Rows and columns of the part of it that lies in a picture of `shape` (H, W)."""
        bottom, right = min(self.top + self.side, shape[0]), min(self.left + self.side, shape[1])
        return slice(max(self.top, 0), bottom), slice(max(self.left, 0), right)

    def inside(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """The same part in the square's own rows and columns."""
        (rows, columns), top, left = self.box(shape), self.top, self.left
        return slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)


def _begin(found: Sequence[int], side: int, length: int) -> int:
    """Where `side` pixels around the middle of `found` begin, within `length` pixels if they fit."""
    begin = (found[0] + found[-1] + 1 - side) // 2
    return min(max(begin, 0), length - side) if side <= length else (length - side) // 2


@dataclass(frozen=True)
class Problem:
    """A photo with a hole as a generator sees it: `image` (3, S, S') in [0, 1], the hole filled smoothly, and `known`
    (1, S, S'), the share of each pixel that is known. `photo` uint8 (3, H, W) and `hole` (H, W), bool, are full size.
    """

    photo: Tensor
    hole: Tensor
    region: Region
    image: Tensor
    known: Tensor

    @staticmethod
    def of(photo: Tensor, hole: Tensor, size: Sequence[int]) -> Problem:
        """Reduce the region around the hole to `size` (S, S'). Known pixels alone decide what the reduced ones are.

        What lies beyond the picture's edge is unknown too. Raises `InputError` for a hole of another size, none, or
        nothing else.
        """
        shape = tuple(photo.shape[-2:])
        if tuple(hole.shape) != shape:
            sizes = f"the mask has {hole.shape[-1]}x{hole.shape[0]} pixels, the image {shape[1]}x{shape[0]}"
            raise InputError(f"{sizes}; give a mask of the image's size")
        if not bool(hole.any()):
            raise InputError("the mask has no hole; paint what is to be filled white")
        if bool(hole.all()):
            raise InputError("the hole covers the whole image; leave some pixels known")
        region = Region.around(hole)
        box, here = region.box(shape), region.inside(shape)
        known = torch.zeros(1, region.side, region.side)
        known[0][here] = (~hole[box]).float()
        square = torch.zeros(3, region.side, region.side)
        square[:, here[0], here[1]] = photo[:, box[0], box[1]].float() / 255
        share = resize(known, size)
        image = resize(square * known, size) / share.clamp_min(EMPTY)
        share = torch.where(share < EMPTY, 0.0, share.clamp(0, 1))
        return Problem(photo, hole, region, harmonic(image.clamp(0, 1), share[0] == 0), share)

    @property
    def masked(self) -> Tensor:
        """The image with the mean of what is known of it in the hole, (3, S, S')."""
        mean = (self.image * self.known).sum((1, 2), keepdim=True) / self.known.sum()
        return self.image * self.known + mean * (1 - self.known)

    @property
    def shown(self) -> Tensor:
        """The photo with a grey hole, uint8 (3, H, W)."""
        return torch.where(self.hole, GREY, self.photo)

    def complete(self, drawn: Tensor) -> Tensor:
        """The photo with the hole taken from `drawn` (3 or 1, S, S'), blended in, uint8 (3, H, W); the rest stays."""
        box, here = self.region.box(self.hole.shape), self.region.inside(self.hole.shape)
        square = resize(drawn.float().cpu(), (self.region.side, self.region.side))
        part = self.photo[:, box[0], box[1]].float() / 255
        blended = poisson_blend(part, square[:, here[0], here[1]], self.hole[box])
        completed = self.photo.clone()
        within = completed[:, box[0], box[1]]
        within.copy_(torch.where(self.hole[box], images.to_uint8(blended), within))
        return completed


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """(C, H, W) -> (C, *size), bilinear, antialiased; weights are never negative."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image[None], tuple(size), mode="bilinear", antialias=True)[0]
