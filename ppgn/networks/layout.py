"""How a layer arranges its units: channels at places of a grid, tokens, or alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

from ppgn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ppgn.contracts import Shape
    from ppgn.networks.network import Network

MOST_PREFIX = 8  # tokens in front of those of the patches: the class, distillation, registers


@dataclass(frozen=True)
class Layout:
    """The units of a layer, and where it computes each: `height` x `width` places, behind `prefix` further tokens.

    height and width are 0 where there is no grid; `tokens` counts them all where a layer has such.
    """

    units: int
    height: int = 0
    width: int = 0
    tokens: int = 0
    channels_last: bool = False

    @property
    def prefix(self) -> int:
        """How many tokens stand in front of those of the grid."""
        return self.tokens - self.height * self.width if self.tokens else 0

    def __str__(self) -> str:
        """What `ppgn units` shows: "14x14", "14x14 + 1 token", "-"."""
        grid = f"{self.height}x{self.width}" if self.height else ""
        extra = f"{self.prefix} token{'s' if self.prefix > 1 else ''}" if self.prefix else ""
        return " + ".join(filter(None, (grid, extra))) or "-"

    def places(self, values: Tensor) -> Tensor:
        """What the layer gives, (B, ...) -> (B, P, C): a place after another, tokens in front of the grid first."""
        if values.dim() == 4:
            values = values if self.channels_last else values.permute(0, 2, 3, 1)
            return values.flatten(1, 2)
        return values if values.dim() == 3 else values[:, None]


def of(shape: Shape) -> Layout | None:
    """The layout of a layer's output, its shape without the batch; None for what is none of these.

    (D,); (C, H, W), or (H, W, C) where the first two alone are equal; (T, D), tokens, a square of patches behind up to
    `MOST_PREFIX` others.
    """
    if len(shape) == 1:
        return Layout(shape[0])
    if len(shape) == 3:
        a, b, c = shape
        return Layout(c, a, b, channels_last=True) if a == b != c else Layout(a, b, c)
    if len(shape) == 2:
        tokens, units = shape
        side = isqrt(tokens)
        side = side if side > 1 and tokens - side * side <= MOST_PREFIX else 0
        return Layout(units, side, side, tokens)
    return None


def read(network: Network, layer: str, x: Tensor) -> tuple[Tensor, Layout]:
    """What a layer gives for images (B, 3, H, W) in [0, 1], and its layout. Raises `InputError` for one without."""
    values = network.features(x, [layer])[layer]
    found = of(tuple(values.shape[1:]))
    if found is None:
        given = f"gives {tuple(values.shape[1:])} for an image; expected (C, H, W), (T, D) or (D,)"
        raise InputError(f"layer '{layer}' of {network.name} {given}")
    return values, found


def layers(network: str, size: int | None = None) -> dict[str, Layout]:
    """The layouts of a network's layers by name; those of networks that come along need no torch.

    size: the side of its input in pixels. Raises `InputError` for an unknown network.
    """
    return {name: found for name, shape in shapes(network, size).items() if (found := of(shape))}


def shapes(network: str, size: int | None = None) -> Mapping[str, Shape]:
    """The shape of what each layer gives."""
    listed = json.loads(Path(__file__).with_name("efficientnet_lite.json").read_text())
    if network in listed and size is None:
        return {layer: tuple(shape) for layer, shape in listed[network].items()}
    from ppgn.networks import own

    return own.load(network, size, weights=None).layer_shapes()  # shapes need no weights
