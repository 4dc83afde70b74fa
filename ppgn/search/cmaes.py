"""CMA-ES: a normal distribution of codes moves, stretches and turns towards those that scored best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppgn.errors import InputError, library, unknown
from ppgn.search.contract import Space, Walk

COVARIANCES = ("separable", "full", "fixed")
LARGEST = 1024  # numbers in a code whose full covariance is still quick


@dataclass(frozen=True, kw_only=True)
class CMAES:
    """Covariance matrix adaptation, by the library `cma`; it looks at ranks alone.

    covariance: "separable", a variance for each number; "full", for codes of up to 1,024 numbers; "fixed", the step
    length alone. The first codes are N(0, (`step` · σ)²), σ that of the space. Codes (D,) longer than `radius` · σ √D
    are shortened to that; without it they are free. Raises `InputError` for settings that cannot be.

    Source: Hansen & Ostermeier 2001; Ros & Hansen 2008 (separable); for neurons Wang & Ponce 2022 (GECCO).
    """

    covariance: str = "separable"
    step: float = 1.0  # standard deviation of the first generation, in σ
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise unknown("covariance", self.covariance, COVARIANCES)
        if not 0 < self.step < math.inf or (self.radius is not None and not 0 < self.radius < math.inf):
            given = f"step={self.step}, radius={self.radius}"
            raise InputError(f"sampler: {given}; expected finite numbers above 0, or null for no radius")

    def begin(self, space: Space) -> Walk:
        """Start around the code 0. Raises `InputError` for less than 4 codes a generation, and without `cma`."""
        library("cma", "sampler cmaes needs cma", "search")
        if space.population < 4:
            raise InputError(f"population={space.population}; CMA-ES needs 4 or more")
        size = math.prod(space.code_shape)
        if self.covariance == "full" and size > LARGEST:
            raise InputError(f"covariance=full for {size} numbers; up to {LARGEST}, take covariance=separable")
        return _Walk(self, space, size)


class _Walk:
    def __init__(self, settings: CMAES, space: Space, size: int) -> None:
        import cma

        random = np.random.Generator(np.random.Philox(space.seed))
        options = {
            "popsize": space.population,
            "seed": np.nan,  # numpy's own random numbers are left alone
            "randn": lambda *shape: random.standard_normal(shape),
            "CMA_diagonal": settings.covariance != "full",
            "CMA_on": settings.covariance != "fixed",
            "verbose": -9,
        }
        self.space = space
        self.longest = math.inf if settings.radius is None else settings.radius * space.sigma * size**0.5
        self.inner = cma.CMAEvolutionStrategy(np.zeros(size), settings.step * space.sigma, options)
        self.asked: list[np.ndarray] = []

    def ask(self) -> Tensor:
        self.asked = [code * min(1.0, self.longest / np.linalg.norm(code)) for code in self.inner.ask()]
        return torch.from_numpy(np.stack(self.asked)).float().view(-1, *self.space.code_shape)

    def tell(self, fitness: Tensor) -> None:
        done = fitness.isfinite().nonzero()[:, 0].numpy()
        rows = np.resize(done, self.space.population)  # the others stand in for those that failed
        self.inner.tell([self.asked[row] for row in rows], (-fitness.double().numpy()[rows]).tolist())
