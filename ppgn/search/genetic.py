"""A genetic algorithm: the best stay, parents are drawn by fitness, children mix the numbers of two and mutate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.search.contract import Space, Walk


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """The genetic algorithm of XDream.

    Fitness is the softmax of z / `temperature`, z the scores of a generation in standard deviations from their mean.
    Each number of a child is the first parent's with the chance `skew`, else the second's. A share `rate` of its
    numbers then mutates by N(0, (`size` · σ)²). Raises `InputError` for settings that cannot be.

    Source: Ponce et al. 2019 (Cell 177), STAR methods; the constants are also those of Wang & Ponce 2022 (GECCO).
    """

    conserved: int = 10  # the best, which stay as they are
    rate: float = 0.25  # share of a child's numbers that mutate
    size: float = 0.75  # standard deviation of a mutation, in σ
    temperature: float = 2.0  # less selects more sharply
    skew: float = 0.75  # share of a child's numbers that come from its first parent

    def __post_init__(self) -> None:
        given = f"conserved={self.conserved}, rate={self.rate}, size={self.size}, temperature={self.temperature}"
        shares = 0 <= self.rate <= 1 and 0 <= self.skew <= 1
        if self.conserved < 0 or not shares or self.size <= 0 or self.temperature <= 0:
            expected = "expected conserved from 0, rate and skew from 0 to 1, size and temperature above 0"
            raise InputError(f"sampler: {given}, skew={self.skew}; {expected}")

    def begin(self, space: Space) -> Walk:
        """Start from codes N(0, σ²)."""
        return _Walk(self, space)


class _Walk:
    def __init__(self, settings: Genetic, space: Space) -> None:
        self.settings, self.space, self.random = settings, space, space.random()
        self.next = space.sigma * torch.randn(space.population, *space.code_shape, generator=self.random)

    def ask(self) -> Tensor:
        return self.next

    def tell(self, fitness: Tensor) -> None:
        settings, done = self.settings, fitness.isfinite()
        flat, fitness = self.next[done].flatten(1), fitness[done]
        z = (fitness - fitness.mean()) / fitness.std(correction=0).clamp_min(1e-12)
        chances = (z / settings.temperature).softmax(dim=0)
        stay = flat[fitness.argsort(descending=True, stable=True)[: min(settings.conserved, self.space.population - 1)]]
        children = self.space.population - len(stay)
        first, second = (
            flat[torch.multinomial(chances, children, replacement=True, generator=self.random)] for _ in range(2)
        )
        mixed = torch.where(torch.rand(first.shape, generator=self.random) < settings.skew, first, second)
        mutates = torch.rand(first.shape, generator=self.random) < settings.rate
        change = settings.size * self.space.sigma * torch.randn(first.shape, generator=self.random)
        self.next = torch.cat([stay, mixed + mutates * change]).view(-1, *self.space.code_shape)
