"""A denoiser for every noise level, as an annealed chain needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.numerics.linear import Linear
from ppgn.priors.denoiser import Denoiser, EveryLevel, preconditioning, vector_dim, zero

WAVES = 16  # sines and cosines that a noise level is shown as


def waves(sigma: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Noise levels (B,) -> (B, 2 · WAVES): where ln σ stands between the lowest and the highest of `sigmas`."""
    low, high = (math.log(end) for end in sigmas)
    place = (sigma.log() - low) / max(high - low, 1e-6)
    angles = place[:, None] * math.pi * torch.arange(1, WAVES + 1, device=sigma.device, dtype=sigma.dtype) / 2
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def embed(width: int) -> nn.Sequential:
    """What becomes of `waves`, (B, 2 · WAVES) -> (B, width)."""
    return nn.Sequential(Linear(2 * WAVES, width), nn.SiLU(), Linear(width, width), nn.SiLU())


class _Block(nn.Module):
    """A residual block of two layers; the noise level scales and shifts what is between them (FiLM)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = Linear(width, width)
        self.film = zero(Linear(embedding, 2 * width))
        self.outer = zero(Linear(width, width))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        gain, shift = self.film(level).chunk(2, dim=1)
        change: Tensor = self.outer(F.silu(torch.addcmul(shift, self.inner(self.norm(y)), 1 + gain)))
        return y + change


class NoiseConditional(EveryLevel, Denoiser):
    """R(h, σ) for codes (D,) near mean 0 and unit variance and every σ between `sigmas`, low and high.

    `depth` residual blocks of `width`, preconditioned as in Karras et al. 2022. `residual` takes the noise level
    `sigma`; `at` gives the prior of another level. Before training it is the best linear denoiser, h / (1 + σ²).

    Source: Song & Ermon 2019 (noise-conditional scores); Karras et al. 2022, Table 1; Perez et al. 2018 (FiLM).
    """

    def __init__(
        self,
        code_shape: Sequence[int],
        width: int,
        depth: int,
        sigmas: Sequence[float],
        sigma: float,
        *,
        embedding: int = 128,
    ) -> None:
        super().__init__(code_shape, sigmas, sigma)
        dim = vector_dim(code_shape)
        self.embed = embed(embedding)
        self.stem = Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = zero(Linear(width, dim))

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, D) and their noise levels -> R(h, σ), (B, D).

        The levels are (B,), or (1,) for all rows; a row is then rounded the same in a batch of any size.
        """
        c_skip, c_out, c_in = preconditioning(sigma)
        level = self.embed(waves(sigma, self.sigmas))
        y = self.stem(c_in * h)
        for block in self.blocks:
            y = block(y, level)
        found: Tensor = self.head(self.norm(y))
        return c_skip * h + c_out * found
