"""Random views of an image, so that a condition must like the drawing and not the pixels it sits on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgn.contracts import NoiseSource
from ppgn.errors import InputError


@dataclass(frozen=True)
class Jitter:
    """`views` random windows of every image, resampled to the image's size.

    A window magnifies by a factor drawn log-uniformly from [1, zoom], the same in both axes. Its centre moves along
    each axis by up to `shift` image sides plus the room the magnification leaves; beyond its edge an image goes on
    mirrored. Every sample draws its own numbers, from the noise stream "jitter". shift=0, zoom=1 is the identity.

    Bilinear resampling of a window is one small matrix per axis and view, made and multiplied in float32 or better
    whatever the images' precision. Products of matrices, unlike `grid_sample`, need no atomic additions backwards on
    CUDA either; that makes the views repeatable there, not yet a chain, whose networks may add in any order.
    """

    views: int = 1
    shift: float = 0.0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if self.views < 1 or self.shift < 0 or self.zoom < 1:
            given = f"views={self.views}, shift={self.shift}, zoom={self.zoom}"
            raise InputError(f"jitter is {given}; expected views of 1 or more, shift from 0 up, zoom from 1 up")

    def __call__(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """Images (B, 3, H, W) -> views (V, B, 3, H, W) of the same precision, differentiable."""
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        draws = noise.uniform("jitter", (self.views, 3)).to(precise).transpose(0, 1)
        with torch.autocast(x.device.type, enabled=False):
            side = torch.exp(-math.log(self.zoom) * draws[..., 0])  # of the window, in image sides; (V, B)
            room = self.shift + (1 - side) / 2
            rows = _resampling(side, room * (2 * draws[..., 1] - 1), x.shape[-2])
            columns = _resampling(side, room * (2 * draws[..., 2] - 1), x.shape[-1])
            views = rows.unsqueeze(2) @ precise @ columns.transpose(-1, -2).unsqueeze(2)
        return views.to(x.dtype)


def _resampling(side: Tensor, centre: Tensor, n: int) -> Tensor:
    """Matrices (V, B, n, n) that resample n pixels to a window of length `side` around the middle + `centre`.

    `side` and `centre` (V, B) are in image sides. Row i holds the bilinear weights around where pixel i looks.
    """
    pixels = torch.arange(n, device=side.device, dtype=side.dtype)
    middle = (n - 1) / 2
    places = middle + n * centre.unsqueeze(-1) + side.unsqueeze(-1) * (pixels - middle)
    period = 2 * n  # mirrored at the outer edges, -0.5 and n - 0.5
    places = (places + 0.5) % period
    places = (torch.minimum(places, period - places) - 0.5).clamp(0, n - 1)
    return (1 - (places.unsqueeze(-1) - pixels).abs()).clamp_min(0)
