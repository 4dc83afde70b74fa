"""Be what one unit inside a network responds to: any layer, any channel, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError, unknown
from ppgn.networks.network import Network, Preprocessing

POSITIONS = ("center", "mean")
SCORES = ("softmax", "activation")


class Unit(Classifier):
    """Images (B, 3, H, W) in [0, 1] -> what unit number `target` of a `layer` of `network` says of them, (B,).

    `layer` is a dotted name (see `Network.layers`) of shape (C, H, W), each channel a unit, or (D,). A convolutional
    layer is read at one `position`: "center", [y, x], or "mean", its average over all of them. `score`: "softmax" is
    log p of the unit among all units of the layer there; "activation" is the bare activation, and `~` its negative.
    `gradient` is that of `Classifier`, for the softmax.

    Raises `InputError` for an unknown layer or one of another shape, a position outside it and an unknown unit.
    Source: hidden units in PPGN (arXiv 1612.00005), whose released sampler takes the softmax over channels.
    """

    def __init__(
        self,
        network: Network,
        layer: str,
        target: str | int,
        position: str | Sequence[int] = "center",
        score: str = "softmax",
        gradient: str = "full",
    ) -> None:
        if score not in SCORES:
            raise unknown("score", score, SCORES)
        as_it_is = Preprocessing().to(network.preprocessing.gain)  # the network inside has its own
        units = Network(_ReadOut(network, str(layer), position), as_it_is, name=f"{network.name} {layer}", copy=False)
        super().__init__(units, target, gradient)
        self.score = score

    def _find(self, target: str | int) -> int:
        count = self.network.classes
        if isinstance(target, bool) or not str(target).strip().isdecimal() or int(target) >= count:
            raise InputError(f"unit '{target}' of {self.network.name}: expected a number from 0 to {count - 1}")
        return int(target)

    @property
    def layer(self) -> str:
        """The name of the unit's layer."""
        return str(self.network.body.layer)

    @property
    def in_place(self) -> bool:
        """A convolutional unit at one position sees one place of the image."""
        return bool(self.network.body.at_one_place)

    def read(self, logits: Tensor) -> Tensor:
        """Activations of all units, (B, C) -> log p or activation of the unit, (B,)."""
        return super().read(logits) if self.score == "softmax" else logits[:, self.index]

    def activations(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> activations of all units of the layer at the position, (B, C)."""
        return self._logits(x)

    def complement(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log(1 − p), or the negative activation, (B,)."""
        return super().complement(x) if self.score == "softmax" else -self(x)

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """Of each image: "prob", "log_prob" and "top5" of the softmax over units, and the unit's "activation"."""
        activations = self._logits(images)[:, self.index].tolist()
        rows = super().describe(images)
        return [{**row, "activation": value} for row, value in zip(rows, activations, strict=True)]


class _ReadOut(nn.Module):
    """The units of a layer at a position: (B, 3, H, W) in [0, 1] -> activations (B, C)."""

    def __init__(self, network: Network, layer: str, position: str | Sequence[int]) -> None:
        super().__init__()
        if isinstance(position, str) and position not in POSITIONS:
            raise InputError(f"position '{position}' of a unit: expected center, mean or [y,x]")
        if not isinstance(position, str) and (len(position) != 2 or any(type(place) is not int for place in position)):
            raise InputError(f"position {list(position)} of a unit: expected center, mean or [y,x], whole numbers")
        self.network = network
        self.layer = layer
        self.position = position
        self.at_one_place = position != "mean"  # `forward` knows better

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C)."""
        values = self.network.features(x, [self.layer])[self.layer]
        self.at_one_place = values.dim() == 4 and self.position != "mean"
        if values.dim() == 2:
            return values
        if values.dim() != 4:
            given = f"gives {tuple(values.shape[1:])} for an image; expected (C, H, W) or (D,)"
            raise InputError(f"layer '{self.layer}' of {self.network.name} {given}")
        if self.position == "mean":
            return values.mean((2, 3))
        row, column = self._place(*values.shape[2:])
        return values[:, :, row, column]

    def _place(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.position, str):
            return height // 2, width // 2
        y, x = self.position
        if not (0 <= y < height and 0 <= x < width):
            expected = f"expected [y,x] from [0,0] to [{height - 1},{width - 1}]"
            raise InputError(f"position [{y},{x}] is outside layer '{self.layer}' of {self.network.name}; {expected}")
        return y, x
