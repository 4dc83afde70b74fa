"""A Gaussian process over the places of spatial codes: fitted in a second, a density, every noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.priors.denoiser import SmoothedDensity, spatial

PSEUDO_COUNTS = 1.0  # codes' worth of white noise, of a frequency's own mean power, in its covariance


class Stationary(SmoothedDensity):
    """p(h) = N(m, S) for codes (C, H, W), alike at every place: channels are correlated with each other and over space.

    The mean is one number a channel. S is block-diagonal in the spatial Fourier basis: a covariance V λ Vᴴ (C, C) for
    every frequency, so that, with F the orthonormal discrete Fourier transform over H and W,

    R(h, σ) = m + F⁻¹ V λ/(λ + σ²) Vᴴ F (h − m).

    Codes thereby count as periodic. `residual` takes the noise level `sigma`. Before `fit` it is N(0, I).
    """

    mean: Tensor  # (C, 1, 1)
    values: Tensor  # (H, W // 2 + 1, C): λ
    vectors: Tensor  # (H, W // 2 + 1, C, C, 2): V, real and imaginary part

    def __init__(self, code_shape: Sequence[int], sigma: float, *, sigmas: Sequence[float] = (1e-3, 1e3)) -> None:
        super().__init__(code_shape, sigmas, sigma)
        channels, height, width = spatial(code_shape)
        frequencies = (height, width // 2 + 1)
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("values", torch.ones(*frequencies, channels))
        identity = torch.eye(channels, dtype=torch.complex64).expand(*frequencies, channels, channels)
        self.register_buffer("vectors", torch.view_as_real(identity).clone())

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, C, H, W) -> log p(h), (B,)."""
        exponent = 0.5 * ((h - self.mean) * self._score(h, 0.0)).flatten(1).sum(dim=1)
        return exponent - 0.5 * (self._log_det() + h[0].numel() * math.log(2 * math.pi))

    def _log_det(self) -> Tensor:
        """log det S: a frequency that the half plane leaves out counts as its mirror image does."""
        logs = self.values.log().sum(dim=(0, 2))
        counts = torch.full_like(logs, 2)
        counts[0] = 1
        if self.code_shape[2] % 2 == 0:
            counts[-1] = 1
        return (counts * logs).sum()

    def _score(self, h: Tensor, sigma: float) -> Tensor:
        vectors, share = torch.view_as_complex(self.vectors.contiguous()), -1 / (self.values + sigma**2)
        together = 1 if h.device.type == "cpu" else max(1, len(h))  # a row is rounded alike in a batch of any size
        return torch.cat([self._pulled(rows, vectors, share) for rows in (h - self.mean).split(together)])

    def _pulled(self, d: Tensor, vectors: Tensor, share: Tensor) -> Tensor:
        """F⁻¹ V `share` Vᴴ F d for deviations (B, C, H, W)."""
        waves = torch.fft.rfft2(d, norm="ortho").permute(2, 3, 1, 0)  # (H, W // 2 + 1, C, B)
        pulled = vectors @ (share[..., None] * (vectors.mH @ waves))
        found: Tensor = torch.fft.irfft2(pulled.permute(3, 2, 0, 1), s=self.code_shape[1:], norm="ortho")
        return found

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Fit to codes (N, C, H, W). Raises `InputError` for fewer than 2."""
        if len(codes) < 2:
            raise InputError(f"prior: {len(codes)} codes; a covariance takes 2 or more, and a good one hundreds")
        h = codes.to(self.mean.device, torch.float64)
        mean = h.mean(dim=(0, 2, 3))[:, None, None]
        waves = torch.fft.rfft2(h - mean, norm="ortho").permute(2, 3, 1, 0)
        covariance = waves @ waves.mH
        power = covariance.diagonal(dim1=-2, dim2=-1).real.mean(-1) / len(h)
        white = PSEUDO_COUNTS * power[..., None, None] * torch.eye(len(mean), device=h.device)
        values, vectors = torch.linalg.eigh((covariance + white) / (len(h) + PSEUDO_COUNTS))
        self.mean.copy_(mean)
        self.values.copy_(values.clamp_min(1e-4))
        self.vectors.copy_(torch.view_as_real(vectors))
