"""Pictures that facets are sought in: photographs, what a hidden unit sees of some, or drawings of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ppgn.contracts import Samples
from ppgn.media import images
from ppgn.networks.layout import Layout
from ppgn.networks.network import Network
from ppgn.photographs import Photographs, square
from ppgn.visualize import receptive_field

SHARE = 0.005  # of all places at which a unit exceeds its threshold
FIELDS = 20  # photographs over which an effective receptive field is averaged
DIM = 0.2  # brightness outside a mask


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


@dataclass(frozen=True)
class Scan:
    """Of units (U) in photographs (N): highest activations and their places, (N, U), and thresholds (U,)."""

    peaks: Tensor
    places: Tensor
    thresholds: Tensor


@dataclass(frozen=True)
class Look:
    """A layer that looks at the photographs of `rows`, which are numbered from 0 on."""

    network: Network
    layer: str
    natural: Photographs | Pictures
    rows: Sequence[int]
    device: torch.device

    @cached_property
    def grid(self) -> Layout:
        """The places of the layer."""
        return receptive_field.grid(self.network, self.layer)

    def images(self, numbers: Iterable[int]) -> Tensor:
        """Photographs as the network sees them, (B, 3, S, S) in [0, 1]."""
        rows = [self.rows[number] for number in numbers]
        return self.natural.take(rows, self.network.side).to(self.device) / 255

    @torch.no_grad()
    def activations(self, x: Tensor, units: Sequence[int]) -> Tensor:
        """Images (B, 3, S, S) -> what units say at each place, (B, P, U)."""
        return receptive_field.maps(self.network, self.layer, x, self.grid)[:, :, units].cpu().float()

    def scan(self, units: Sequence[int], batch_size: int, bar: Callable[..., Any]) -> Scan:
        """Look at all photographs, for the threshold that a unit exceeds at `SHARE` of all places."""
        count, (peaks, places), top = len(self.rows), ([], []), torch.zeros(len(units), 0)
        most = max(1, int(SHARE * count * max(1, self.grid.height * self.grid.width)))
        for start in bar(range(0, count, batch_size), desc="photographs"):
            values = self.activations(self.images(range(start, min(start + batch_size, count))), units)
            best = values.max(1)
            peaks.append(best.values)
            places.append(best.indices)
            top = torch.cat([top, values.flatten(0, 1).T], dim=1)
            top = top.topk(min(most + 1, top.shape[1])).values
        return Scan(torch.cat(peaks), torch.cat(places), top[:, -1])


@torch.no_grad()
def excerpts(look: Look, unit: int, count: int, batch_size: int, bar: Callable[..., Any]) -> Pictures:
    """What a hidden unit sees where it is highest in each of the `count` photographs that excite it most.

    That is its receptive field there (`receptive_field.of`), moved into the photograph where it reaches beyond: what is
    drawn after grey edges is grey there, too.
    """
    scan = look.scan([unit], batch_size, bar)
    order, places = scan.peaks[:, 0].argsort(descending=True)[:count].tolist(), scan.places[:, 0]
    first = order[:FIELDS]
    field = receptive_field.of(look.network, look.layer, unit, look.images(first), places[first])
    crops = []
    for row in order:
        seen = look.images([row])[0].cpu()
        box = field.at(int(places[row])).inside(*seen.shape[-2:])
        crops.append(images.to_uint8(images.fit(box.crop(seen), (seen.shape[-1],) * 2)))
    names = [look.natural.name(look.rows[row]) for row in order]
    return Pictures(look.natural.root, torch.stack(crops), names)


def dimmed(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures (..., 3, S, S) that are dark outside a mask of their places."""
    return pictures * (DIM + (1 - DIM) * mask)


def drawings(draw: Callable[..., Samples], count: int, **options: Any) -> Pictures:
    """What `count` chains without a start `draw`, by seeds from 0 on, with options of `PPGN.sample`."""
    drawn = draw(range(count), **options)
    return Pictures("drawings", drawn.images, [f"drawing {seed}" for seed in drawn.seeds])
