"""An up-convolutional decoder of one layer's features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError
from ppgn.media.medium import Pictures
from ppgn.numerics.linear import Linear

LEAST = 32  # channels


class UpConv(nn.Module):
    """Codes (B, D), flattened features of a shape `code`, (C, h, w) or (D,) -> images (B, 3, size, size) in [0, 1].

    A 1x1 convolution takes maps to `width` channels, three linear layers take features without places to as many on a
    4x4 grid. Then each up-convolution doubles the side and halves the channels; a side that is no power of two times
    the grid's is interpolated to `size`. Raises `InputError` for a `code` of another form and one larger than `size`.
    Source: Dosovitskiy & Brox 2016 (arXiv 1506.02753), table 1, with a sigmoid at the end.
    """

    def __init__(self, code: Sequence[int], size: int = 64, width: int = 256) -> None:
        super().__init__()
        self.code = tuple(code)
        if len(self.code) not in (1, 3) or min(self.code) < 1 or max(self.code[1:], default=4) > size:
            raise InputError(f"generator: code={list(code)} of {size} pixels; expected [C, h, w] no larger, or [D]")
        self.code_shape: Shape = (prod(self.code),)
        self.signal_shape: Shape = (3, size, size)
        self.medium = Pictures()
        self.first = nn.ModuleList()
        self.grid = self.code
        if len(self.code) == 1:
            self.grid = (width, 4, 4)
            sides = [self.code[0], 16 * width, 16 * width, 16 * width]
            self.first.extend(Linear(a, b) for a, b in pairwise(sides))
        self.mix = nn.Conv2d(self.grid[0], width, 1)
        self.up = nn.ModuleList()
        side, channels = max(self.grid[1:]), width
        while 2 * side <= size:
            self.up.append(nn.ConvTranspose2d(channels, max(LEAST, channels // 2), 4, 2, 1))
            side, channels = 2 * side, max(LEAST, channels // 2)
        self.to_rgb = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> images (B, 3, S, S) in [0, 1]."""
        for layer in self.first:
            h = F.leaky_relu(layer(h), 0.3)
        x = F.leaky_relu(self.mix(h.view(-1, *self.grid)), 0.3)
        for layer in self.up:
            x = F.leaky_relu(layer(x), 0.3)
        if x.shape[-2:] != self.signal_shape[1:]:
            x = F.interpolate(x, self.signal_shape[1:], mode="bilinear")
        return torch.sigmoid(self.to_rgb(x))
