"""The prior of whitened codes, taken at its word: N(0, I)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ppgn.priors.denoiser import EveryLevel


class Gaussian(EveryLevel, nn.Module):
    """p(h) = N(0, I). Its residual is its score, −h: that of a denoiser at unbounded noise, which always says 0.

    It has a density, and a denoiser in closed form for every noise level: R(h, σ) = h / (1 + σ²).
    """

    code_shape = None  # of all codes
    sigmas = (0.0, math.inf)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> −h; x is ignored."""
        return -h

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> log N(h; 0, I), (B,)."""
        return -0.5 * (h.square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)

    def score(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> ∂log p(h)/∂h = −h; x is ignored."""
        return -h

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, *code_shape) with noise σ -> R(h, σ) − h = −h σ² / (1 + σ²)."""
        return -h * (sigma**2 / (1 + sigma**2))
