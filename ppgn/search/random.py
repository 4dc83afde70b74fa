"""Random search: codes N(0, σ²), whatever was scored; what other samplers have to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgn.search.contract import Space, Walk


@dataclass(frozen=True, kw_only=True)
class Random:
    """Independent codes N(0, σ²), σ that of the space."""

    def begin(self, space: Space) -> Walk:
        """Draw from the seed."""
        return _Walk(space)


class _Walk:
    def __init__(self, space: Space) -> None:
        self.space, self.random = space, space.random()

    def ask(self) -> Tensor:
        return self.space.sigma * torch.randn(self.space.population, *self.space.code_shape, generator=self.random)

    def tell(self, fitness: Tensor) -> None:
        pass
