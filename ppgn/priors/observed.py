"""A prior times a Gaussian likelihood of the code, at every noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ppgn.contracts import NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.numerics.linear import linear
from ppgn.priors.denoiser import EveryLevel


class Observed(EveryLevel, nn.Module):
    """p(h | z) ∝ p(h) · exp(bᵀh − ½ hᵀΛh): a noise-conditional `prior` times a likelihood of codes (D,).

    precision: Λ, (N, D, D), symmetric and positive semi-definite; information: b, (N, D); N = 1 for all rows, or a
    likelihood for each row. Given a code with noise σ, the prior's clean code is taken to be N(R(h, σ), s² I) with
    s² = σ² / (1 + σ²), which is exact for codes N(0, I). With the likelihood its mean is

    R'(h, σ) = R(h, σ) + s² (I + s² Λ)⁻¹ (b − Λ R(h, σ)).

    A sampler's `jacobian` "gaussian" ignores the likelihood.

    Raises `InputError` for other shapes. Source: Song, Vahdat, Mardani & Kautz 2023 (pseudo-inverse guidance).
    """

    values: Tensor
    vectors: Tensor
    along: Tensor

    def __init__(self, prior: NoiseConditionalPrior, precision: Tensor, information: Tensor) -> None:
        super().__init__()
        if precision.shape != (*information.shape, information.shape[-1]) or information.dim() != 2:
            shapes = f"precision {tuple(precision.shape)} and information {tuple(information.shape)}"
            raise InputError(f"prior: {shapes}; expected (N, D, D) and (N, D)")
        self.prior, self.sigmas, self.span = prior, prior.sigmas, getattr(prior, "span", prior.sigmas)
        found = [torch.linalg.eigh(one) for one in precision.double().split(1)]  # not a batch: that rounds otherwise
        values, vectors = (torch.cat(parts) for parts in zip(*found, strict=True))
        along = (vectors.mT @ information.double().unsqueeze(2)).squeeze(2)
        for name, value in (("values", values.clamp_min(0)), ("vectors", vectors), ("along", along)):
            self.register_buffer(name, value.to(information.dtype))

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, D) -> R'(h) − h at the noise level of the prior's own residual."""
        return self._corrected(h, self.prior.residual(h, x), float(getattr(self.prior, "sigma", math.inf)))

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, D) with noise σ -> R'(h, σ) − h, (B, D); the images x are the prior's to look at."""
        return self._corrected(h, self.prior.at(sigma).residual(h, x), sigma)

    def _corrected(self, h: Tensor, residual: Tensor, sigma: float) -> Tensor:
        """Codes (B, D) with noise σ and R(h, σ) − h -> R'(h, σ) − h. A row is rounded alike in a batch of any size."""
        share = 1 - 1 / (1 + sigma * sigma)
        rows = []
        for row, denoised in enumerate((h + residual).split(1)):
            mine = row if len(self.along) > 1 else 0
            values, vectors = self.values[mine], self.vectors[mine]
            missing = self.along[mine] - values * linear(denoised, vectors.T)
            rows.append(linear(share * missing / (1 + share * values), vectors))
        return residual + torch.cat(rows)
