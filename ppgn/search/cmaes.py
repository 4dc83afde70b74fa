"""CMA-ES: a normal distribution of codes moves and stretches towards those that scored best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppgn.errors import InputError, library
from ppgn.search.contract import Space, Walk


@dataclass(frozen=True, kw_only=True)
class CMAES:
    """Covariance matrix adaptation with a variance for each number of a code, by the library `cmaes`.

    That form suits codes of hundreds and thousands and short searches; it looks at ranks alone. The first codes are
    N(0, (`step` · σ)²), σ that of the space. The mean moves `mean_rate` times as far as the weighted mean of the best
    codes; 1 is the textbook's. The defaults look near the mean and move it far: among hundreds of numbers that finds
    more, unless scores are noisy. Neither the mean nor codes of D numbers get longer than `radius` · σ √D; without it
    they are free. Raises `InputError` for settings that cannot be.

    Source: Hansen & Ostermeier 2001; Ros & Hansen 2008 (separable); `mean_rate` is c_m in Hansen 2016 (arXiv
    1604.00772); for neurons Wang & Ponce 2022 (GECCO).
    """

    step: float = 0.5  # standard deviation of the first generation, in σ
    mean_rate: float = 2.0  # how far the mean moves; 1 is to the weighted mean of the best codes
    radius: float | None = None

    def __post_init__(self) -> None:
        positive = all(0 < number < math.inf for number in (self.step, 1 if self.radius is None else self.radius))
        if not positive or not 1 <= self.mean_rate < math.inf:
            given = f"step={self.step}, mean_rate={self.mean_rate}, radius={self.radius}"
            expected = "expected finite numbers above 0, mean_rate from 1, or null for no radius"
            raise InputError(f"sampler: {given}; {expected}")

    def begin(self, space: Space) -> Walk:
        """Start around the code 0. Raises `InputError` for less than 4 codes a generation, and without `cmaes`."""
        library("cmaes", "sampler cmaes needs cmaes", "search")
        if space.population < 4:
            raise InputError(f"population={space.population}; CMA-ES needs 4 or more")
        return _Walk(self, space)


class _Walk:
    def __init__(self, settings: CMAES, space: Space) -> None:
        from cmaes import SepCMA  # type: ignore[import-untyped]

        size = math.prod(space.code_shape)
        self.space, self.rate = space, settings.mean_rate
        self.longest = math.inf if settings.radius is None else settings.radius * space.sigma * size**0.5
        step, seed = settings.step * self.rate * space.sigma, space.seed % 2**32
        self.inner = SepCMA(np.zeros(size), step, seed=seed, population_size=space.population)
        self.reached: list[np.ndarray] = []  # `rate` times as far from the mean as the codes that are asked

    def ask(self) -> Tensor:
        codes = [self.inner.ask() for _ in range(self.space.population)]
        self.reached = [code * min(1.0, self.longest / np.linalg.norm(code)) for code in codes]
        asked = self.inner.mean + (np.stack(self.reached) - self.inner.mean) / self.rate
        return torch.from_numpy(asked).float().view(-1, *self.space.code_shape)

    def tell(self, fitness: Tensor) -> None:
        done = fitness.isfinite().nonzero()[:, 0].tolist()
        rows = np.resize(done, self.space.population)  # the others stand in for those that failed
        self.inner.tell([(self.reached[row], -float(fitness[row])) for row in rows])
