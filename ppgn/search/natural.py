"""Search with the prior: photographs are surveyed first, then codes evolve, no further from one than is natural."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ppgn.contracts import AnchoringPrior, NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.search.cmaes import CMAES
from ppgn.search.contract import Space, Walk

RIDGE = 100.0  # of the guess, in photographs
SHARPNESS = 3  # exponent of ranks in (0, 1] before they are regressed: the best matter most
CHUNK = 4096  # photographs at a time


@dataclass(frozen=True, kw_only=True)
class Natural:
    """Pictures that stay natural while the score rises.

    With a prior that has anchors, the codes b of photographs: for `survey` generations what G draws of photographs is
    scored, first of random ones, then of those that a ridge regression from codes to ranks guesses to be best. From the
    best of them CMA-ES goes on, over z in h = b + s z, s the standard deviations of the photographs' codes; a z longer
    than `radius` · √D is shortened to that. With any other prior CMA-ES goes over h from 0, no longer than σ √D, and
    what is asked is R(h, `level`), the code denoised, where the prior has levels.

    Raises `InputError` for settings that cannot be.
    """

    priors: ClassVar[tuple[str, ...]] = ("bank", "mixture")

    survey: int = 8  # generations of photographs
    radius: float = 0.35  # how far codes may be from their photograph, in spreads
    step: float = 0.2  # standard deviation of the first codes around it, in spreads
    level: float = 0.5  # noise level of the denoiser, without photographs

    def __post_init__(self) -> None:
        numbers = (self.radius, self.step, self.level)
        if self.survey < 1 or not all(0 < number < math.inf for number in numbers):
            given = f"survey={self.survey}, radius={self.radius}, step={self.step}, level={self.level}"
            raise InputError(f"sampler: {given}; expected survey from 1, and finite numbers above 0")

    def begin(self, space: Space) -> Walk:
        """Start from photographs, or from 0. Raises `InputError` as `CMAES.begin` does."""
        if isinstance(space.prior, AnchoringPrior):
            return _Surveying(self, space, space.prior)
        return _Denoising(self, space)


class _Surveying:
    def __init__(self, settings: Natural, space: Space, prior: AnchoringPrior) -> None:
        rows = torch.arange(len(prior), device=space.device).split(CHUNK)
        self.settings, self.space, self.random = settings, space, space.random()
        self.codes = torch.cat([prior.codes(part).float().cpu() for part in rows])  # (K, *code_shape)
        self.spread = self.codes.std(0)
        self.fitness = torch.full((len(self.codes),), torch.nan, dtype=torch.float64)
        self.shown = torch.zeros(len(self.codes), dtype=torch.bool)
        self.rows: list[Tensor] = []  # of each generation of the survey
        ball = CMAES(step=settings.step, mean_rate=1.0, radius=settings.radius)
        self.inner = ball.begin(replace(space, sigma=1.0))
        self.anchor: Tensor | None = None

    def ask(self) -> Tensor:
        if len(self.rows) < self.settings.survey and int((~self.shown).sum()) >= self.space.population:
            self.rows.append(self._promising())
            return self.codes[self.rows[-1]]
        if self.anchor is None:
            self.anchor = self.codes[self.fitness.nan_to_num(-math.inf).argmax()]
        return self.anchor + self.spread * self.inner.ask()

    def tell(self, fitness: Tensor) -> None:
        if self.anchor is not None:
            return self.inner.tell(fitness)
        self.shown[self.rows[-1]] = True
        self.fitness[self.rows[-1]] = fitness.double()

    def _promising(self) -> Tensor:
        """Photographs that were not shown yet: those guessed to be best, at first random ones, (population,)."""
        known, count = self.fitness.isfinite(), self.space.population
        if not known.any():
            return torch.randperm(len(self.codes), generator=self.random)[:count]
        x, y = self.codes[known].flatten(1).double(), self.fitness[known]
        y = ((y.argsort(stable=True).argsort(stable=True) + 1.0).double() / len(y)) ** SHARPNESS
        weight = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]).double(), x.T @ (y - y.mean()))
        guess = self.codes.flatten(1) @ weight.float()
        best: Tensor = guess.masked_fill(self.shown, -math.inf).topk(count).indices
        return best


class _Denoising:
    def __init__(self, settings: Natural, space: Space) -> None:
        self.settings, self.space = settings, space
        self.inner = CMAES(step=1.0, mean_rate=1.0, radius=1.0).begin(space)

    def ask(self) -> Tensor:
        h, prior = self.inner.ask(), self.space.prior
        if not isinstance(prior, NoiseConditionalPrior):
            return h
        with torch.no_grad():
            shown = h.to(self.space.device)
            return h + prior.at(self.settings.level).residual(shown, shown.new_empty(len(h), 0)).cpu()

    def tell(self, fitness: Tensor) -> None:
        self.inner.tell(fitness)
