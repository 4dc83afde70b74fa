"""A mixture of Gaussians on codes: a density, and the exact denoiser at every noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.numerics.linear import linear
from ppgn.priors.denoiser import SmoothedDensity

PSEUDO_COUNTS = 10.0  # codes' worth of the mean variance that every component's variance is estimated with
KMEANS_ROUNDS = 6
Linear = Callable[[Tensor, Tensor], Tensor]  # rows (B, D) and a weight (K, D) -> (B, K)
ROWS = 8000  # codes at a time in a round of EM


class Mixture(SmoothedDensity):
    """p(h) = Σ_k w_k N(h; m_k, diag(v_k)) for codes of any shape, of D numbers in all, K = `components`.

    With noise of standard deviation σ it stays a mixture, of variances v_k + σ², so that log p(h), its gradient and
    R(h, σ) = E[h0 | h0 + σ z = h] are known in closed form: `sampler=mala` and `sampler=annealed` both walk on it.
    `residual` takes the noise level `sigma`. Before `fit` it is N(0, I).

    Source of the fit: expectation-maximisation (Dempster, Laird & Rubin 1977) from a k-means start.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(
        self, code_shape: Sequence[int], components: int, sigma: float, sigmas: Sequence[float] = (1e-3, 1e3)
    ) -> None:
        super().__init__(code_shape, sigmas, sigma)
        if components < 1:
            raise InputError(f"prior: components={components}; expected 1 or more")
        dim = math.prod(self.code_shape)
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("variances", torch.ones(components, dim))

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> log p(h), (B,)."""
        return self._log_joint(h.flatten(1), self._smoothed(0.0)).logsumexp(dim=1)

    def _smoothed(self, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """With noise σ: m_k and 1 divided by v_k + σ², (K, D) each, and Σ m_k² / (v_k + σ²) + log(v_k + σ²), (K,)."""
        variances = self.variances + sigma**2
        scaled, precisions = self.means / variances, variances.reciprocal()
        return scaled, precisions, (self.means * scaled).sum(1) + variances.log_().sum(1)

    def _log_joint(self, h: Tensor, smoothed: tuple[Tensor, Tensor, Tensor], linear: Linear = linear) -> Tensor:
        """Codes with noise, (B, D), and `_smoothed` by it -> log w_k + log N(h; m_k, v_k + σ²), (B, K)."""
        scaled, precisions, apart = smoothed
        apart = apart + h.shape[1] * math.log(2 * math.pi)
        return linear(h, scaled) - 0.5 * linear(h.square(), precisions) + (self.log_weights - 0.5 * apart)

    def _score(self, h: Tensor, sigma: float) -> Tensor:
        smoothed, flat = self._smoothed(sigma), h.flatten(1)
        scaled, precisions, _ = smoothed
        share = self._log_joint(flat, smoothed).softmax(dim=1)
        return (linear(share, scaled.T) - flat * linear(share, precisions.T)).view_as(h)

    @torch.no_grad()
    def fit(self, codes: Tensor, rounds: int, seed: int = 0) -> float:
        """Fit to codes (N, *code_shape) by `rounds` of EM -> mean log p per dimension.

        Raises `InputError` for fewer codes than components.
        """
        codes, count, components = codes.flatten(1), len(codes), len(self.log_weights)
        if count < components:
            raise InputError(f"prior: {count} codes cannot fit {components} components; give more codes, or components")
        random = torch.Generator().manual_seed(seed)
        self.means.copy_(codes[torch.randperm(count, generator=random)[:components]])
        for _ in range(KMEANS_ROUNDS):
            self._kmeans(codes)
        for _ in range(rounds):
            self._improve(codes)
        log_p = [self.log_prob(h.to(self.means)).sum() for h in codes.split(ROWS)]
        return float(torch.stack(log_p).sum() / codes.numel())

    def _kmeans(self, codes: Tensor) -> None:
        """Move every mean to the codes nearest to it; one that is nearest to none stays."""
        total, count = torch.zeros_like(self.means), torch.zeros_like(self.log_weights)
        for rows in codes.split(ROWS):
            h = rows.to(self.means)
            nearest = (h @ self.means.T - 0.5 * self.means.square().sum(1)).argmax(dim=1)
            total.index_add_(0, nearest, h)
            count += torch.bincount(nearest, minlength=len(count))
        self.means.copy_(torch.where(count[:, None] > 0, total / count[:, None].clamp(min=1), self.means))

    def _improve(self, codes: Tensor) -> None:
        """One round of expectation-maximisation."""
        mass, first, second = map(torch.zeros_like, (self.log_weights, self.means, self.means))
        for rows in codes.split(ROWS):
            h = rows.to(self.means)
            share = self._log_joint(h, self._smoothed(0.0), F.linear).softmax(dim=1)
            mass += share.sum(0)
            first += share.T @ h
            second += share.T @ h.square()
        count = mass.clamp(min=1e-6)[:, None]
        self.means.copy_(first / count)
        spread = (second / count - self.means.square()).clamp(min=0)
        pooled = (spread * mass[:, None]).sum(0) / mass.sum()
        self.variances.copy_((spread * mass[:, None] + PSEUDO_COUNTS * pooled) / (mass[:, None] + PSEUDO_COUNTS))
        self.variances.clamp_(min=1e-4)
        self.log_weights.copy_((mass + 1e-3).log() - (mass + 1e-3).sum().log())
