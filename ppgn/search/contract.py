"""What a search sampler must offer: it proposes codes, hears how they scored, and proposes again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ppgn.contracts import Prior, Shape


@dataclass(frozen=True)
class Space:
    """Where a search takes place."""

    code_shape: Shape
    population: int  # codes of a generation
    seed: int
    sigma: float  # standard deviation of the numbers in a code, by and large
    prior: Prior  # what keeps codes natural
    device: torch.device  # where the prior is

    def random(self) -> torch.Generator:
        """Random numbers from the seed, on the CPU."""
        return torch.Generator().manual_seed(self.seed)


class Walk(Protocol):
    """A search under way. Codes are float32 on the CPU."""

    def ask(self) -> Tensor:
        """The codes of the next generation, (population, *code_shape); `tell` comes before the next `ask`."""

    def tell(self, fitness: Tensor) -> None:
        """How the codes last asked did, (population,), more being better; NaN for those that failed, never all."""


@runtime_checkable
class SearchSampler(Protocol):
    """A way to search, with its settings.

    A search is resumed by asking and telling anew what was asked and told before. So what a walk asks must follow from
    its space and from what it was told, and from nothing else. Optional: `priors`, names of suitable ones, best first.
    """

    def begin(self, space: Space) -> Walk:
        """A new search. Raises `InputError` for a space that it cannot walk in."""
