"""Annealing: from pure noise down the noise levels of a prior that knows them all."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ppgn.contracts import Evaluation, Info, Jacobian, NoiseSource, State, Target
from ppgn.errors import InputError
from ppgn.samplers import rows
from ppgn.samplers.sampler import Sampler

Normalize = Literal["condition", "none"]
LARGEST = 1e9  # noise level that single precision can still square, and its inverse the smallest
GRIDS = ("geometric", "karras")
SIGMAS = (0.02, 10.0)  # ends of the levels where a target's own are none
RHO = 7  # of the grid of Karras et al. 2022, Eq. 5
CORRECTION = 0.1  # share of the way to the denoised code that a correction goes; its variance is 1/0.95 of the exact


@dataclass(frozen=True, kw_only=True)
class Annealed(Sampler):
    """Steps from noise level σ to σ', towards a guided denoised code D and with fresh noise, z ~ N(0, I):

    h' = h + (1 − s/σ) · (D − h) + u · z with u = ε3 · σ' √(1 − σ'²/σ²), s² = σ'² − u²,
    D − h = ε1 · (R(h, σ) − h) + ε2 · σ² · ∂log p(y | G(R(h, σ)))/∂h.

    With ε1 = ε3 = 1 and ε2 = 0 this is the ancestral sampler of the data's diffusion, exact as the levels grow dense;
    ε3 = 0 makes it deterministic, an Euler step along the probability flow; ε2 = 1 is Bayes' rule where `normalize` is
    "none" and R's Jacobian is right. A chain starts at its start code plus noise σ z of the first level; start codes
    N(0, I) so become N(0, 1 + σ²).

    σ falls from `sigma_max` to `sigma_min` along a `grid`, over the steps and anew with every target; an end that is
    None is that of the levels that the target knows. A `grid` of numbers are the levels themselves, highest first:
    exactly where there is one more of them than steps, else geometrically in between.

    `normalize` "condition" scales the condition's gradient to unit root mean square per row and its term to
    ε2 · σ/√(1 + σ²), so that ε2 counts standard deviations of a code N(0, I) given its noisy one. `jacobian` is how the
    condition's gradient passes R: "exact" differentiates the prior; "gaussian", the cheap one, takes ∂R/∂h as
    I / (1 + σ²), which it is where codes are N(0, I).

    The state's code is the denoised one, R(h, σ), and its image is G of that; the memory holds h itself, as "noisy".
    A row whose step is not finite keeps its last state for good, and `alive` is False for it.

    Source: Song & Ermon 2019 (arXiv 1907.05600), Song et al. 2021 (arXiv 2011.13456: ancestral sampling, predictor and
    corrector), Karras et al. 2022 (arXiv 2206.00364); G on denoised codes: Ho et al. 2022 (arXiv 2204.03458).
    """

    priors: ClassVar[tuple[str, ...]] = ("diffusion", "unet", "image_unet", "mixture", "stationary", "gaussian")

    # noise level at the start; null is the prior's highest, for codes of unit variance 10 where it knows all
    sigma_max: float | None = None
    sigma_min: float | None = None  # and at the end, anew with every target of a chain; null is the lowest, else 0.02
    grid: Any = "geometric"  # of the levels in between: geometric, karras, or a list of all levels, as [10,3,1,0.1]
    epsilon1: float = 1.0  # weight of the prior's residual R(h, σ) − h: 1 is exact
    epsilon2: float = 1.5  # weight of the condition's gradient: more is more of the target
    epsilon3: float = 1.0  # noise of a step: 1 is the ancestral sampler, 0 deterministic
    normalize: Normalize = "condition"  # what is scaled per sample: condition (its gradient), or none: Bayes' rule
    fade: bool = False  # multiply the condition's term by 1 − p(y | x), so that it rests where its wish is fulfilled
    corrections: int = 0  # Langevin steps after every step, at its noise level
    jacobian: Jacobian = "gaussian"  # of R in the condition's gradient: gaussian, or exact: backward through R
    share: float = 1.0  # of the way down, its last part, that the steps walk
    views: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epsilon1", "epsilon2"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "a number from 0 up, and finite")
        self._check("epsilon3", 0 <= self.epsilon3 <= 1, "0 (no noise) to 1 (all that a level can take)")
        for name in ("sigma_min", "sigma_max"):
            level = getattr(self, name)
            number = isinstance(level, numbers.Real) and not isinstance(level, bool)
            within = level is None or (number and 1 / LARGEST <= level <= LARGEST)
            self._check(name, within, f"a finite number from {1 / LARGEST:g} to {LARGEST:g}")
        ordered = self.sigma_max is None or self.sigma_min is None or self.sigma_min < self.sigma_max
        self._check("sigma_max", ordered, f"a number above sigma_min={self.sigma_min}")
        named = isinstance(self.grid, str) and self.grid in GRIDS
        self._check("grid", named or _falling(self.grid), "geometric, karras, or levels that fall above 0")
        self._check("share", 0 < self.share <= 1, "a number above 0 up to 1")
        self._check("corrections", self.corrections >= 0, "0 or more")

    def last(self, share: float) -> Self:
        """See `Sampler.last`."""
        return replace(super().last(share), share=self.share * share)

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Add noise to the start codes (B, *code_shape) and evaluate them at the first level.

        Raises `InputError` where the target does not know the first or the last level.
        """
        first = self._sigma(target, 0, 1)
        target.at(self._sigma(target, 1, 1), self.jacobian)
        level = target.at(first, self.jacobian)
        noisy = h + first * noise.normal("proposal", h.shape[1:])
        evaluation = level.evaluate(noisy, noise)
        alive = rows.finite(noisy, *rows.tensors(evaluation).values())
        return State(noisy + evaluation.prior_residual, evaluation, alive, {"noisy": noisy})

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps`: to the next level, and `corrections` steps there."""
        done = i % steps
        if done == 0 and i > 0:
            first, again = self._sigma(target, 0, steps), replace(state, memory={"noisy": state.code})
            state = _moved(again, torch.zeros_like(state.code), first, target.at(first, self.jacobian), noise)
        here, there = self._sigma(target, done, steps), self._sigma(target, done + 1, steps)
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

    def _sigma(self, target: Target, k: int, steps: int) -> float:
        """The noise level after `k` of `steps` steps, which are the last `share` of the way."""
        if not isinstance(self.grid, str):
            intervals = len(self.grid) - 1
            place = (1 - self.share) * intervals + self.share * (intervals * k / steps)
            below = min(int(place), intervals - 1)
            here, there = float(self.grid[below]), float(self.grid[below + 1])
            return here * math.pow(there / here, place - below) if place < below + 1 else there
        low, high = self._ends(target)
        if self.grid == "karras":
            end, left = math.pow(low, 1 / RHO), self.share * (1 - k / steps)
            return min(high, max(low, math.pow(end + left * (math.pow(high, 1 / RHO) - end), RHO)))
        first = high if self.share == 1 else low * math.pow(high / low, self.share)
        return max(low, first * math.pow(low / first, k / steps))

    def _ends(self, target: Target) -> tuple[float, float]:
        """The lowest and the highest noise level."""
        known = [
            k if 0 < k < math.inf else end for k, end in zip(getattr(target, "sigmas", SIGMAS), SIGMAS, strict=True)
        ]
        low, high = (k if own is None else own for k, own in zip(known, (self.sigma_min, self.sigma_max), strict=True))
        if not low < high:
            raise InputError(f"the noise levels go from sigma_max={high:g} down to sigma_min={low:g}; set both")
        return low, high

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


def _falling(levels: Any) -> bool:
    """Whether these are two numbers or more that fall and stay above 0."""
    if isinstance(levels, str) or not isinstance(levels, Sequence) or len(levels) < 2:
        return False
    if not all(isinstance(level, numbers.Real) and math.isfinite(level) for level in levels):
        return False
    return levels[-1] > 0 and all(a > b for a, b in pairwise(levels))


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
