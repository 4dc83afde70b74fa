"""Pictures that facets are sought in: photographs, what a hidden unit sees of some, or drawings of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ppgn.conditions.unit import Unit
from ppgn.contracts import Samples
from ppgn.media import images
from ppgn.networks.network import Network
from ppgn.photographs import Photographs, square
from ppgn.visualize import receptive_field

FIELDS = 20  # photographs over which an effective receptive field is averaged


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


@torch.no_grad()
def excerpts(
    photographs: Photographs | Pictures,
    unit: Unit,
    count: int,
    batches: Callable[[int], Iterable[range]],
    device: torch.device,
) -> Pictures:
    """What a hidden unit sees where it is highest in each of the `count` photographs that excite it most.

    That is its receptive field there (`receptive_field.of`), grey beyond the photograph's edge. `batches` splits a
    number of rows.
    """
    network, layer = cast(Network, unit.network.body.network), unit.layer
    grid, side = receptive_field.grid(network, layer), network.preprocessing.size or 224
    best = []
    for rows in batches(len(photographs)):
        x = photographs.take(rows, side).to(device) / 255
        best.append(receptive_field.maps(network, layer, x, grid)[:, :, unit.index].max(1))
    values, places = torch.cat([one.values for one in best]).cpu(), torch.cat([one.indices for one in best]).cpu()
    order = values.argsort(descending=True)[:count].tolist()
    first = order[:FIELDS]
    field = receptive_field.of(
        network, layer, unit.index, photographs.take(first, side).to(device) / 255, places[first]
    )
    crops = []
    for row in order:
        seen = field.at(int(places[row])).crop(photographs.take([row], side)[0] / 255)
        crops.append(images.to_uint8(images.fit(seen, (side, side))))
    return Pictures(photographs.root, torch.stack(crops), [photographs.name(row) for row in order])


def drawings(draw: Callable[..., Samples], count: int, **options: Any) -> Pictures:
    """What `count` chains without a start `draw`, by seeds from 0 on, with options of `PPGN.sample`."""
    drawn = draw(range(count), **options)
    return Pictures("drawings", drawn.images, [f"drawing {seed}" for seed in drawn.seeds])
