"""What part of an image a place in a layer sees: by the network's structure, and by where its gradient is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.networks import layout
from ppgn.networks.network import Network

GREY = 0.5
HELD = 0.9  # the share of the gradient that an effective field holds


@dataclass(frozen=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right` of an image, the last ones outside; it may reach beyond."""

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, images: Tensor, fill: float = GREY) -> Tensor:
        """The part of float images (..., H, W) inside, `fill` where it reaches beyond them."""
        height, width = images.shape[-2:]
        outside = (-self.left, self.right - width, -self.top, self.bottom - height)
        return F.pad(images, outside, value=fill)

    def shifted(self, down: float, right: float) -> Box:
        """The box moved by so many pixels, rounded."""
        down, right = round(down), round(right)
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def inside(self, height: int, width: int) -> Box:
        """The box moved into an image of so many rows and columns, and no longer than it along an axis."""

        def within(start: int, end: int, size: int) -> tuple[int, int]:
            first = min(max(start, 0), max(size - (end - start), 0))
            return first, min(first + end - start, size)

        (top, bottom), (left, right) = within(self.top, self.bottom, height), within(self.left, self.right, width)
        return Box(top, left, bottom, right)


@dataclass(frozen=True)
class Field:
    """The receptive field of a layer's central place, and of the others by shifting; `effective`: by the gradient."""

    box: Box
    grid: layout.Layout
    side: int  # of the images
    effective: bool = False

    def at(self, place: int) -> Box:
        """The field of a place by its number on the grid, row by row."""
        if not self.grid.height:
            return self.box
        y, x = divmod(place, self.grid.width)
        down, right = y - self.grid.height // 2, x - self.grid.width // 2
        return self.box.shifted(down * self.side / self.grid.height, right * self.side / self.grid.width)


def grid(network: Network, layer: str) -> layout.Layout:
    """How a layer arranges its units. Raises `InputError` for an unknown layer and one that is no such grid."""
    with torch.no_grad():
        return layout.read(network, layer, network.blank())[1]


def maps(network: Network, layer: str, images: Tensor, found: layout.Layout) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] -> what all units say at each place of the grid, (B, P, C); P = 1 without one."""
    places = found.places(network.features(images, [layer])[layer])
    return places[:, found.prefix if found.height else 0 :]


@torch.no_grad()
def theoretical(network: Network, layer: str) -> Field:
    """The smallest box outside which no pixel can change the central place of a layer, whatever the weights are.

    Not-a-number in a pixel makes a number of everything that is computed with it, however it is weighted; so a few
    passes find each edge by bisection. For a layer without places it is the image.
    """
    found, side = grid(network, layer), network.side
    whole = Field(Box(0, 0, side, side), found, side)
    if not found.height:
        return whole
    centre = found.height // 2 * found.width + found.width // 2
    top, bottom, left, right = (_unseen(network, layer, found, centre, side, edge) for edge in range(4))
    return Field(Box(top, left, side - bottom, side - right), found, side)


def _unseen(network: Network, layer: str, found: layout.Layout, place: int, side: int, edge: int) -> int:
    """How many rows or columns at an edge (top, bottom, left, right) do not reach a place."""
    low, high = 0, side
    while high - low > 1:
        middle = (low + high) // 2
        image = network.preprocessing.gain.new_full((1, 3, side, side), GREY)
        turned = image if edge < 2 else image.transpose(2, 3)
        turned[:, :, slice(-middle, None) if edge % 2 else slice(middle)] = float("nan")
        reached = bool(maps(network, layer, image, found)[:, place].isnan().any())
        low, high = (low, middle) if reached else (middle, high)
    return low


def of(network: Network, layer: str, unit: int, images: Tensor, places: Tensor) -> Field:
    """The field of a unit: the theoretical one, or where that exceeds half of the image the effective one.

    That is the smallest square around a place that holds 90 % of the gradient's absolute value, in the mean over
    those `images` (B, 3, S, S) in [0, 1] that have one at their `places` (B,). Without a grid it is the image.
    """
    field = theoretical(network, layer)
    box, found, side = field.box, field.grid, field.side
    if not found.height or max(box.bottom - box.top, box.right - box.left) <= side / 2:
        return field
    shares = torch.zeros(side + 2)
    steps = torch.arange(side) + 0.5
    for image, place in zip(images, places.tolist(), strict=True):
        with torch.enable_grad():
            x = image[None].clone().requires_grad_()
            value = maps(network, layer, x, found)[0, place, unit]
            (slope,) = torch.autograd.grad(value, x)
        y, z = divmod(place, found.width)
        down = (steps - (y + 0.5) * side / found.height).abs()
        along = (steps - (z + 0.5) * side / found.width).abs()
        distance = (torch.maximum(down[:, None], along) + 0.5).ceil().long().flatten()  # the pixel's far edge
        weight = slope[0].abs().sum(0).flatten().cpu()
        if weight.sum() > 0:
            shares += torch.bincount(distance, weight, side + 2).cumsum(0) / weight.sum()
    half = int((shares >= HELD * shares[-1]).float().argmax())
    if not half:  # no gradient anywhere
        return field
    y, z = found.height // 2 + 0.5, found.width // 2 + 0.5
    cy, cx = round(y * side / found.height), round(z * side / found.width)
    return Field(Box(cy - half, cx - half, cy + half, cx + half), found, side, effective=True)
