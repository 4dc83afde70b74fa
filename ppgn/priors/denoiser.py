"""What trained priors share: a network R that undoes Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ppgn.contracts import Shape
from ppgn.errors import InputError

SPAN = (0.02, 10.0)  # noise levels that annealing walks by default where a prior of codes of unit variance knows all


class Denoiser(nn.Module):
    """R(h̃, σ), trained to be E[h | h + σ z = h̃], z ~ N(0, I); then (R(h̃) − h̃) / σ² = ∂log p_σ(h̃)/∂h̃ (Tweedie).

    p_σ is the distribution of the data with noise of standard deviation σ added. `sigmas` are the lowest and highest σ
    that the network is trained for, equal if it knows only one; `residual` takes the noise level `sigma`.

    Source: Alain & Bengio 2014; PPGN (arXiv 1612.00005) Eq. 6.
    """

    white: ClassVar[bool] = True  # whether codes are to have mean 0 and unit variance, by and large

    def __init__(self, code_shape: Sequence[int], sigmas: Sequence[float], sigma: float) -> None:
        super().__init__()
        self.code_shape: Shape = tuple(code_shape)
        if len(sigmas) != 2 or not 0 < sigmas[0] <= sigma <= sigmas[1] < math.inf:
            raise InputError(f"prior: noise levels {list(sigmas)} with sigma={sigma}; expected 0 < low ≤ sigma ≤ high")
        self.sigmas: tuple[float, ...] = (float(sigmas[0]), float(sigmas[1]))
        self.sigma = float(sigma)

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, *code_shape) and their noise levels, (B,) or (1,) -> R(h, σ), (B, *code_shape)."""
        raise TypeError(f"{type(self).__name__} removes no noise: use a subclass")

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> R(h, σ) − h at `sigma`; x is ignored."""
        return self.denoise(h, h.new_full((1,), self.sigma)) - h

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, *code_shape) with noise σ -> R(h, σ) − h, alike; x is ignored."""
        return self.denoise(h, h.new_full((1,), sigma)) - h


@dataclass(frozen=True)
class Level:
    """A prior that offers `residual_at`, held at a level σ; residual / σ² is the score of the data smoothed by σ."""

    prior: Any
    sigma: float

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their signals -> R(h, σ) − h, (B, *code_shape)."""
        found: Tensor = self.prior.residual_at(h, x, self.sigma)
        return found


class EveryLevel:
    """What makes a prior that offers `residual_at` noise-conditional (`contracts.NoiseConditionalPrior`)."""

    def at(self, sigma: float) -> Level:
        """The prior of one noise level. One outside `sigmas` is not known, or not trained for."""
        return Level(self, float(sigma))


class SmoothedDensity(EveryLevel, Denoiser):
    """A prior whose density with noise of any standard deviation σ has a gradient in closed form, `_score`."""

    @property
    def span(self) -> tuple[float, float]:
        """The noise levels that annealing walks by default, (low, high)."""
        return max(SPAN[0], self.sigmas[0]), min(SPAN[1], self.sigmas[1])

    def _score(self, h: Tensor, sigma: float) -> Tensor:
        """Codes with noise σ, (B, *code_shape) -> ∂log p_σ(h)/∂h, alike."""
        raise TypeError(f"{type(self).__name__} has no density: use a subclass")

    def score(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> ∂log p(h)/∂h, alike; x is ignored."""
        return self._score(h, 0.0)

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, *code_shape) with noise σ -> R(h, σ) − h, alike; x is ignored."""
        return sigma**2 * self._score(h, sigma)

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, *code_shape), their levels, (B,) or (1,) -> R(h, σ) = h + σ² ∂log p_σ(h)/∂h, alike."""
        levels, rows = sigma.expand(len(h)).unique(return_inverse=True)
        found = torch.empty_like(h)
        for number, level in enumerate(levels.tolist()):
            here = rows == number
            found[here] = h[here] + level**2 * self._score(h[here], level)
        return found


def vector_dim(code_shape: Sequence[int]) -> int:
    """D of codes (D,). Raises `InputError` for codes of another shape."""
    if len(code_shape) != 1:
        others = "use prior=stationary, unet or mixture for (C, H, W), image_dae for images"
        raise InputError(f"prior: codes of shape {tuple(code_shape)}; expected (D,); {others}")
    return int(code_shape[0])


def spatial(code_shape: Sequence[int], multiple: int = 1) -> tuple[int, int, int]:
    """(C, H, W) of such codes. Raises `InputError` for others, and for sides that are no multiples of `multiple`."""
    if len(code_shape) != 3 or any(side % multiple for side in code_shape[1:]):
        sides = f", sides multiples of {multiple}" if multiple > 1 else ""
        others = "use prior=mixture, bank, noise_conditional or dae for (D,)"
        raise InputError(f"prior: codes of shape {tuple(code_shape)}; expected (C, H, W){sides}; {others}")
    return (int(code_shape[0]), int(code_shape[1]), int(code_shape[2]))


def preconditioning(sigma: Tensor, dims: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Noise levels (B,) -> c_skip, c_out, c_in, (B, 1, …) each, for codes of `dims` dimensions.

    R(h, σ) = c_skip h + c_out F(c_in h, σ), for data of mean 0 and unit variance: F sees and aims at unit variance, and
    F = 0 is the best linear denoiser.
    Source: Karras et al. 2022, Table 1, with σ_data = 1.
    """
    sigma = sigma.view(-1, *[1] * dims)
    c_in = (1 + sigma.square()).rsqrt()
    return c_in.square(), sigma * c_in, c_in


def zero(layer: nn.Module) -> nn.Module:
    """The same layer with all parameters set to 0."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer
