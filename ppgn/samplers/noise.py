"""Random numbers that belong to a sample, not to the batch it happens to be in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn.contracts import Shape
from ppgn.errors import InputError

BLOCK = 16  # calls drawn ahead and moved to the device together; it changes no number


class Noise:
    """Random numbers for a batch of chains: one independent generator per seed, stream and shape.

    Every number is a function of (seed, stream, shape, how often that stream was asked) and of nothing else. So a
    seed gets the same numbers alone, in any batch and in any dtype, a new stream disturbs no other, and the state to
    save is the count of calls. Numbers are drawn on the CPU in float32 and then cast.

    The generator is Philox (Salmon et al. 2011), keyed with 128 bits: a torch CPU generator keeps 32 bits of its
    seed, too few to keep the streams of many seeds apart.

    Streams in use: `init` (start codes), `proposal` (the chain's noise), `accept` (Metropolis tests), `reset`
    (restarts), `jitter` (random views in front of a condition).
    """

    def __init__(
        self, seeds: Iterable[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self.dtype = dtype
        self._calls: dict[str, int] = {}
        self._blocks: dict[str, tuple[int, Tensor]] = {}

    def normal(self, stream: str, shape: Shape) -> Tensor:
        """Standard normal draws, (B, *shape)."""
        return self._next("normal", stream, shape)

    def uniform(self, stream: str, shape: Shape) -> Tensor:
        """Draws from [0, 1), (B, *shape)."""
        return self._next("uniform", stream, shape)

    def state_dict(self) -> dict[str, Any]:
        """The seeds and the number of calls so far, in plain Python."""
        return {"seeds": list(self.seeds), "calls": dict(self._calls)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`. Raises `InputError` if it is of other seeds."""
        if tuple(state["seeds"]) != self.seeds:
            raise InputError(f"the saved noise is of seeds {list(state['seeds'])}, this chain's are {list(self.seeds)}")
        self._calls = dict(state["calls"])
        self._blocks = {}

    def _next(self, distribution: str, stream: str, shape: Shape) -> Tensor:
        key = "/".join([stream, distribution, *map(str, shape)])
        call = self._calls.get(key, 0)
        self._calls[key] = call + 1
        number, row = divmod(call, BLOCK)
        if key not in self._blocks or self._blocks[key][0] != number:
            first = number * BLOCK
            draws = [[_draw(s, key, c, distribution, shape) for s in self.seeds] for c in range(first, first + BLOCK)]
            block = torch.from_numpy(np.array(draws, dtype=np.float32))
            self._blocks[key] = number, block.to(self.device).to(self.dtype)
        return self._blocks[key][1][row]


def _draw(seed: int, key: str, call: int, distribution: str, shape: Shape) -> np.ndarray:
    """Call number `call` of one seed's stream, float32. Calls lie 2**64 apart in the Philox counter."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"), counter=call << 64))
    draw = generator.standard_normal if distribution == "normal" else generator.random
    return np.asarray(draw(shape, dtype=np.float32))
