"""Pictures in memory that facets are sought in, as drawings of a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppgn.contracts import Samples
from ppgn.photographs import square


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory, uint8 (N, 3, S, S), as `Photographs` gives them, and what each is called."""

    root: str
    pictures: Tensor
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, row: int) -> str:
        """What a picture is called."""
        return self.names[row]

    def take(self, rows: Iterable[int], side: int) -> Tensor:
        """The pictures of `rows`, uint8 (len(rows), 3, side, side)."""
        return square(self.pictures[list(rows)], side)


def drawings(draw: Callable[..., Samples], count: int, **options: Any) -> Pictures:
    """What `count` chains without a start `draw`, by seeds from 0 on, with options of `PPGN.sample`."""
    drawn = draw(range(count), **options)
    return Pictures("drawings", drawn.images, [f"drawing {seed}" for seed in drawn.seeds])
