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
    N(0, (`step` · σ)²), σ that of the space. Codes of D numbers that are longer than `radius` · σ √D are shortened to
    that; without it they are free. Raises `InputError` for settings that cannot be.

    Source: Hansen & Ostermeier 2001; Ros & Hansen 2008 (separable); for neurons Wang & Ponce 2022 (GECCO).
    """

    step: float = 1.0  # standard deviation of the first generation, in σ
    radius: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.step < math.inf or (self.radius is not None and not 0 < self.radius < math.inf):
            given = f"step={self.step}, radius={self.radius}"
            raise InputError(f"sampler: {given}; expected finite numbers above 0, or null for no radius")

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
        self.space = space
        self.longest = math.inf if settings.radius is None else settings.radius * space.sigma * size**0.5
        seed = space.seed % 2**32
        self.inner = SepCMA(np.zeros(size), settings.step * space.sigma, seed=seed, population_size=space.population)
        self.asked: list[np.ndarray] = []

    def ask(self) -> Tensor:
        codes = [self.inner.ask() for _ in range(self.space.population)]
        self.asked = [code * min(1.0, self.longest / np.linalg.norm(code)) for code in codes]
        return torch.from_numpy(np.stack(self.asked)).float().view(-1, *self.space.code_shape)

    def tell(self, fitness: Tensor) -> None:
        done = fitness.isfinite().nonzero()[:, 0].tolist()
        rows = np.resize(done, self.space.population)  # the others stand in for those that failed
        self.inner.tell([(self.asked[row], -float(fitness[row])) for row in rows])
