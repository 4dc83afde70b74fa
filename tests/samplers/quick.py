"""Random numbers for tests that need thousands of chains and no chain's own numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgn.contracts import Shape
from ppgn.samplers.noise import Noise


class Quick(Noise):
    """One generator per stream for the whole batch, float64: what `Noise` is in law, many times as fast."""

    def __init__(self, chains: int, seed: int = 0) -> None:
        super().__init__(range(chains), dtype=torch.float64)
        self.seed = seed
        self.generators: dict[str, torch.Generator] = {}

    def _next(self, distribution: str, stream: str, shape: Shape) -> Tensor:
        number = sum(map(ord, stream)) + 1000 * self.seed
        generator = self.generators.setdefault(stream, torch.Generator().manual_seed(number))
        draw = torch.randn if distribution == "normal" else torch.rand
        return draw(len(self.seeds), *shape, generator=generator, dtype=torch.float64)
