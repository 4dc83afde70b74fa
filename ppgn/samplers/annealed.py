"""Annealing: from pure noise down the noise levels of a prior that knows them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ppgn.contracts import Evaluation, Info, Jacobian, NoiseSource, State, Target
from ppgn.samplers import rows
from ppgn.samplers.sampler import Sampler

Normalize = Literal["condition", "none"]
LARGEST = 1e9  # noise level that single precision can still square, and its inverse the smallest
CORRECTION = 0.1  # share of the way to the denoised code that a correction goes; its variance is 1/0.95 of the exact


@dataclass(frozen=True, kw_only=True)
class Annealed(Sampler):
    """Steps from noise level σ to σ', towards a guided denoised code D and with fresh noise, z ~ N(0, I):

    h' = h + (1 − s/σ) · (D − h) + u · z with u = ε3 · σ' √(1 − σ'²/σ²), s² = σ'² − u²,
    D − h = ε1 · (R(h, σ) − h) + ε2 · σ² · ∂log p(y | G(R(h, σ)))/∂h.

    With ε1 = ε3 = 1 and ε2 = 0 this is the ancestral sampler of the data's diffusion, exact as the levels grow dense;
    ε3 = 0 makes it deterministic, an Euler step along the probability flow; ε2 = 1 is Bayes' rule where `normalize` is
    "none" and R's Jacobian is right. σ falls geometrically from `sigma_max` to `sigma_min`, over the steps and anew
    with every target. A chain starts at its start code plus noise σ_max z; start codes N(0, I) so become N(0, 1 + σ²).

    `normalize` "condition" scales the condition's gradient to unit root mean square per row and its term to
    ε2 · σ/√(1 + σ²), so that ε2 counts standard deviations of a code N(0, I) given its noisy one. `jacobian` is how the
    condition's gradient passes R: "exact" differentiates the prior; "gaussian", the cheap one, takes ∂R/∂h as
    I / (1 + σ²), which it is where codes are N(0, I).

    The state's code is the denoised one, R(h, σ), and its image is G of that; the memory holds h itself, as "noisy".
    A row whose step is not finite keeps its last state for good, and `alive` is False for it.

    Source: Song & Ermon 2019 (arXiv 1907.05600), Song et al. 2021 (arXiv 2011.13456: ancestral sampling, predictor and
    corrector), Karras et al. 2022 (arXiv 2206.00364); G on denoised codes: Ho et al. 2022 (arXiv 2204.03458).
    """

    priors: ClassVar[tuple[str, ...]] = ("mixture", "gaussian")

    sigma_max: float = 10.0  # noise level at the start; codes have unit variance
    sigma_min: float = 0.02  # and at the end, geometric in between, anew with every target of a chain
    epsilon1: float = 1.0  # weight of the prior's residual R(h, σ) − h: 1 is exact
    epsilon2: float = 1.5  # weight of the condition's gradient: more is more of the target
    epsilon3: float = 1.0  # noise of a step: 1 is the ancestral sampler, 0 deterministic
    normalize: Normalize = "condition"  # what is scaled per sample: condition (its gradient), or none: Bayes' rule
    fade: bool = False  # multiply the condition's term by 1 − p(y | x), so that it rests where its wish is fulfilled
    corrections: int = 0  # Langevin steps after every step, at its noise level
    jacobian: Jacobian = "gaussian"  # of R in the condition's gradient: gaussian, or exact: backward through R
    views: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epsilon1", "epsilon2"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "a number from 0 up, and finite")
        self._check("epsilon3", 0 <= self.epsilon3 <= 1, "0 (no noise) to 1 (all that a level can take)")
        self._check("sigma_min", self.sigma_min >= 1 / LARGEST, f"a number from {1 / LARGEST:g} up")
        ordered = self.sigma_min < self.sigma_max <= LARGEST
        self._check("sigma_max", ordered, f"a number above sigma_min={self.sigma_min}, at most {LARGEST:g}")
        self._check("corrections", self.corrections >= 0, "0 or more")

    def last(self, share: float) -> Self:
        """See `Sampler.last`."""
        return replace(super().last(share), sigma_max=self.sigma_min * (self.sigma_max / self.sigma_min) ** share)

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Add noise to the start codes (B, *code_shape) and evaluate them at `sigma_max`."""
        noisy = h + self.sigma_max * noise.normal("proposal", h.shape[1:])
        evaluation = target.at(self.sigma_max, self.jacobian).evaluate(noisy, noise)
        alive = rows.finite(noisy, *rows.tensors(evaluation).values())
        return State(noisy + evaluation.prior_residual, evaluation, alive, {"noisy": noisy})

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps`: to the next level, and `corrections` steps there."""
        done = i % steps
        if done == 0 and i > 0:
            again, level = replace(state, memory={"noisy": state.code}), target.at(self.sigma_max, self.jacobian)
            state = _moved(again, torch.zeros_like(state.code), self.sigma_max, level, noise)
        here, there = self._sigma(done, steps), self._sigma(done + 1, steps)
        fresh = self.epsilon3 * there * math.sqrt(1 - (there / here) ** 2)
        share = 1 - math.sqrt(there**2 - fresh**2) / here
        towards = self._towards(state.evaluation, here)
        info = Info(rows.norm(towards), share)
        level = target.at(there, self.jacobian)
        state = _moved(state, share * towards, fresh, level, noise)
        for _ in range(self.corrections):
            fresh = self.epsilon3 * there * math.sqrt(2 * CORRECTION)
            state = _moved(state, CORRECTION * self._towards(state.evaluation, there), fresh, level, noise)
        return state, info

    def _sigma(self, k: int, steps: int) -> float:
        """The noise level after `k` of `steps` steps."""
        return max(self.sigma_min, self.sigma_max * math.pow(self.sigma_min / self.sigma_max, k / steps))

    def _towards(self, evaluation: Evaluation, sigma: float) -> Tensor:
        """D − h, (B, *code_shape)."""
        if self.normalize == "condition":
            pull = rows.unit_rms(evaluation.condition_grad) * (sigma / math.sqrt(1 + sigma**2))
        else:
            pull = evaluation.condition_grad * sigma**2
        if self.fade:
            pull = rows.fade(pull, evaluation.log_condition)
        towards: Tensor = self.epsilon1 * evaluation.prior_residual + self.epsilon2 * pull
        return towards


def _moved(state: State, change: Tensor, fresh: float, level: Target, noise: NoiseSource) -> State:
    """Noisy codes plus `change` (B, *code_shape) and noise of standard deviation `fresh`, evaluated at `level`."""
    here = state.memory["noisy"]
    noisy = here + change + fresh * noise.normal("proposal", change.shape[1:])
    alive = state.alive & rows.finite(noisy)
    noisy = rows.select(alive, noisy, here)  # the networks never see what is not finite
    evaluation = level.evaluate(noisy, noise)
    alive = alive & rows.finite(*rows.tensors(evaluation).values())
    noisy = rows.select(alive, noisy, here)
    evaluation = rows.select_evaluation(alive, evaluation, state.evaluation)
    code = rows.select(alive, noisy + evaluation.prior_residual, state.code)
    return State(code, evaluation, alive, {"noisy": noisy})
