"""What several processes share of one batch, so that they take the step that one process takes with all of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Share:
    """The rows of a batch that one of `world` processes has: its own number `rank`, and every `world`-th from there.

    So the first rows of each process are the first rows of the whole batch.
    """

    rank: int = 0
    world: int = 1

    @staticmethod
    def own() -> Share:
        """That of this process."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return Share()
        return Share(distributed.get_rank(), distributed.get_world_size())

    def of(self, draw: Callable[..., Any], count: int, *shape: int, **how: Any) -> Any:
        """`count` rows of what `draw` gives for the shape of the whole batch, as `torch.rand` does, which all draw."""
        return draw((count * self.world, *shape), **how)[self.rank :: self.world]

    def like(self, draw: Callable[..., Tensor], x: Tensor) -> Tensor:
        """As `of`, for the shape, type and device of rows (B, ...)."""
        found: Tensor = self.of(draw, *x.shape, dtype=x.dtype, device=x.device)
        return found


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor without a gradient over all processes."""
    world = Share.own().world
    if world == 1:
        return x
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total / world


def gathered(x: Tensor) -> Tensor:
    """The rows (B, ...) without a gradient of all processes, in the order of the whole batch."""
    world = Share.own().world
    if world == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world)]
    distributed.all_gather(parts, x.detach().contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


def first() -> bool:
    """Whether this is the first process of all, which may not yet have met the others."""
    told = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK"))
    return all(number == "0" for number in told)
