"""A denoiser that is the gradient of an energy, so that a sampler can weigh one code against another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.numerics.linear import Linear
from ppgn.priors.denoiser import Denoiser, vector_dim, zero


class EnergyDAE(Denoiser):
    """R(h) = h + σ² ∂log p(h)/∂h with a density p of codes (D,) near mean 0 and unit variance.

    log p(h) = −½‖h‖² / (1 + σ²) + e(h / √(1 + σ²)) / σ + constant, e(u) = ½‖u‖² − ½‖u − f(u)‖², with f a multilayer
    perceptron of `depth` hidden layers of `width`. f is bounded, for its last layer reads normalised features; so e
    grows no faster than ‖u‖, p keeps Gaussian tails and can be normalised, though its constant is not known.
    Before training p = N(0, (1 + σ²) I) and R is the best linear denoiser.

    Source: Alain & Bengio 2014; the energy of a reconstruction after Salimans & Ho 2021.
    """

    def __init__(self, code_shape: Sequence[int], width: int, depth: int, sigma: float) -> None:
        super().__init__(code_shape, (sigma, sigma), sigma)
        dim = vector_dim(code_shape)
        self.layers = nn.ModuleList(Linear(width if level else dim, width) for level in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = zero(Linear(width, dim))

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> log p(h) up to an unknown constant, the same for all codes, (B,)."""
        u = h * (1 + self.sigma**2) ** -0.5
        y = u
        for layer in self.layers:
            y = F.silu(layer(y))
        f = self.head(self.norm(y))
        e = (f * (u - 0.5 * f)).sum(dim=1)
        log_p: Tensor = e / self.sigma - 0.5 * u.square().sum(dim=1)
        return log_p

    def score(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, D) -> ∂log p(h)/∂h, exact, (B, D), differentiable where gradients are on; x is ignored."""
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            code = h if h.requires_grad else h.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(code).sum(), code, create_graph=differentiable)
        return score

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, D) -> R(h), (B, D). Every noise level counts as `self.sigma`."""
        return h + self.sigma**2 * self.score(h, h)
