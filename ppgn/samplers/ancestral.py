"""Codes from a prior alone, without a generator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppgn.contracts import Evaluation, Jacobian, NoiseConditionalPrior, NoiseSource, Prior, Shape
from ppgn.errors import InputError
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise


def draw(prior: NoiseConditionalPrior, code_shape: Shape, noise: Noise, *, steps: int = 50) -> Tensor:
    """Codes drawn from p(h), (B, *code_shape), one per seed of `noise`: `steps` steps of `Annealed`, no condition."""
    return run_chains([_Unconditional(prior, code_shape)], Annealed(steps=steps), noise).codes


@dataclass(frozen=True)
class _Unconditional:
    """p(h) as a `contracts.Target`; without a condition nothing is drawn, and images are empty, (B, 0)."""

    prior: Prior
    code_shape: Shape

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels to walk, (low, high)."""
        assert isinstance(self.prior, NoiseConditionalPrior)
        levels: tuple[float, ...] = getattr(self.prior, "span", self.prior.sigmas)
        return levels

    def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> _Unconditional:
        """The same for codes with noise N(0, σ²) added."""
        assert isinstance(self.prior, NoiseConditionalPrior)
        return _Unconditional(self.prior.at(sigma), self.code_shape)

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
        """Codes (B, *code_shape) -> what the prior says of them."""
        if density:
            raise InputError("draws from a prior alone need no density; use Annealed")
        nothing = h.new_empty(len(h), 0)
        return Evaluation(nothing, h.new_zeros(len(h)), h.new_zeros(h.shape), self.prior.residual(h, nothing))
