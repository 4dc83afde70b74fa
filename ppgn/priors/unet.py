"""A small U-Net: a denoiser of spatial codes, or of pixels, for every noise level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.arguments import whole
from ppgn.numerics.linear import Linear
from ppgn.priors.denoiser import Denoiser, EveryLevel, preconditioning, spatial, zero
from ppgn.priors.noise_conditional import embed, waves


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions; the noise level scales and shifts what is between them (FiLM)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.before, self.between = nn.GroupNorm(1, width), nn.GroupNorm(1, width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.film = zero(Linear(embedding, 2 * width))
        self.outer = zero(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        gain, shift = self.film(level)[..., None, None].chunk(2, dim=1)
        inner = self.between(self.inner(F.silu(self.before(y))))
        change: Tensor = self.outer(F.silu(torch.addcmul(shift, inner, 1 + gain)))
        return y + change


class UNet(EveryLevel, Denoiser):
    """R(h, σ) for codes (C, H, W) near mean 0 and unit variance and every σ between `sigmas`, low and high.

    Squares of `patch` x `patch` places are one place of the network's highest resolution, which every further entry of
    `widths` halves; H and W are multiples of patch · 2^(len(widths) − 1). `depth` blocks stand at every resolution,
    before and after the lowest one. Preconditioned as in Karras et al. 2022; `residual` takes the noise level `sigma`,
    `at` gives the prior of another. Before training it is h / (1 + σ²).

    Source: Ronneberger et al. 2015 (U-Net); Karras et al. 2022, Table 1; Perez et al. 2018 (FiLM); Hoogeboom et al.
    2023 (arXiv 2301.11093: patches). Raises `InputError` for codes of another shape.
    """

    def __init__(
        self,
        code_shape: Sequence[int],
        widths: Sequence[int],
        depth: int,
        sigmas: Sequence[float],
        sigma: float,
        *,
        patch: int = 1,
        embedding: int = 128,
    ) -> None:
        super().__init__(code_shape, sigmas, sigma)
        self.patch = whole("prior: patch", patch)
        channels = spatial(code_shape, patch * 2 ** (len(widths) - 1))[0] * patch**2

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList(_Block(width, embedding) for _ in range(depth))

        self.embed = embed(embedding)
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(blocks(width) for width in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(blocks(width) for width in widths[:-1])
        self.norm = nn.GroupNorm(1, widths[0])
        self.head = zero(nn.Conv2d(widths[0], channels, 3, padding=1))

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, C, H, W) and their noise levels, (B,), or (1,) for all rows -> R(h, σ), (B, C, H, W)."""
        c_skip, c_out, c_in = preconditioning(sigma, dims=3)
        level = self.embed(waves(sigma, self.sigmas))
        y, kept = self.stem(F.pixel_unshuffle(c_in * h, self.patch)), []
        for number, blocks in enumerate(self.encoders):
            y = _through(blocks, y, level)
            if number < len(self.downs):
                kept.append(y)
                y = self.downs[number](y)
        for number in reversed(range(len(self.ups))):
            y = _through(self.decoders[number], kept[number] + self.ups[number](y), level)
        found = F.pixel_shuffle(self.head(F.silu(self.norm(y))), self.patch)
        return c_skip * h + c_out * found


def _through(blocks: nn.Module, y: Tensor, level: Tensor) -> Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        y = block(y, level)
    return y
