"""Be what one unit inside a network responds to: any layer, any channel or token, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError, check_known
from ppgn.networks import layout, own
from ppgn.networks.network import Network, Preprocessing

POSITIONS = ("center", "mean", "max", "class")
SCORES = ("softmax", "activation")


class Unit(Classifier):
    """Images (B, 3, H, W) in [0, 1] -> what unit number `target` of a `layer` of `network` says of them, (B,).

    `layer` is a dotted name (see `Network.layers`) of shape (C, H, W) or (H, W, C), each channel a unit, of tokens
    (T, D), or (D,). It is read at one `position`: "center", [y, x], a token by number, "class" (token 0), or over all
    places of the grid, "mean" or "max". `score`: "softmax" is log p of the unit among all units of the layer there;
    "activation" is the bare activation, and `~` its negative. `gradient` is that of `Classifier`, for the softmax.
    `network` is what `Classifier` takes.

    Raises `InputError` for an unknown layer or one of another shape, a position outside it and an unknown unit.
    Source: hidden units in PPGN (arXiv 1612.00005), whose released sampler takes the softmax over channels.
    """

    def __init__(
        self,
        network: nn.Module | str,
        layer: str,
        target: str | int,
        position: str | int | Sequence[int] = "center",
        score: str = "softmax",
        gradient: str = "full",
        through: nn.Module | None = None,
    ) -> None:
        network = own.load(network)
        check_known("score", score, SCORES)
        as_it_is = Preprocessing().to(network.preprocessing.gain)  # the network inside has its own
        body = _ReadOut(network, str(layer), position, through)
        units = Network(body, as_it_is, name=f"{network.name} {layer}", copy=False)
        super().__init__(units, target, gradient)
        self.score = score

    def _find(self, target: str | int) -> tuple[int, ...]:
        count = self.network.classes
        if isinstance(target, bool) or not str(target).strip().isdecimal() or int(target) >= count:
            raise InputError(f"unit '{target}' of {self.network.name}: expected a number from 0 to {count - 1}")
        return (int(target),)

    @property
    def layer(self) -> str:
        """The name of the unit's layer."""
        return str(self.network.body.layer)

    @property
    def position(self) -> str | int | Sequence[int]:
        """Where the layer is read."""
        return cast("str | int | Sequence[int]", self.network.body.position)

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
    """The units of a layer at a position, seen `through` a map of them: (B, 3, H, W) in [0, 1] -> (B, C)."""

    def __init__(
        self, network: Network, layer: str, position: str | int | Sequence[int], through: nn.Module | None
    ) -> None:
        super().__init__()
        if isinstance(position, int):
            known = position >= 0
        else:
            pair = isinstance(position, Sequence) and len(position) == 2
            known = position in POSITIONS or (pair and all(type(p) is int and p >= 0 for p in position))
        if not known:
            expected = f"expected {', '.join(POSITIONS)}, [y,x] or the number of a token"
            raise InputError(f"position {position} of a unit: {expected}")
        self.network = network
        self.layer = layer
        self.position = position
        self.through = through
        self.at_one_place = position not in ("mean", "max", "class")  # `forward` knows better

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C)."""
        values, found = layout.read(self.network, self.layer, x)
        values, alone = found.places(values), not found.height and not found.tokens
        self.at_one_place = not alone and self.position not in ("mean", "max", "class")
        if not alone:
            values = values[:, self._places(found)]
        if self.through is not None:
            values = self.through(values.flatten(0, 1)).unflatten(0, values.shape[:2])
        return values.amax(1) if self.position == "max" else values.mean(1) if values.shape[1] > 1 else values[:, 0]

    def _places(self, found: layout.Layout) -> slice:
        """Which of `Layout.places` are meant."""
        where = f"layer '{self.layer}' of {self.network.name}"
        if self.position == "class" and not found.prefix:
            raise InputError(f"position class: {where} has no class token; give center, mean, max or [y,x]")
        if self.position in ("mean", "max"):
            return slice(found.prefix if found.height else 0, None)
        if self.position == "class" or isinstance(self.position, int):
            token = 0 if self.position == "class" else int(self.position)
            if token >= found.tokens:
                expected = f"expected a token from 0 to {found.tokens - 1}" if found.tokens else "expected [y,x]"
                raise InputError(f"position {token} is outside {where}; {expected}")
            return slice(token, token + 1)
        if not found.height:
            advice = "give class, mean, max or a token's number"
            raise InputError(f"position {self.position}: {where} has no grid; {advice}")
        y, x = (found.height // 2, found.width // 2) if self.position == "center" else map(int, self.position)
        if not (y < found.height and x < found.width):
            expected = f"expected [y,x] from [0,0] to [{found.height - 1},{found.width - 1}]"
            raise InputError(f"position [{y},{x}] is outside {where}; {expected}")
        place = found.prefix + y * found.width + x
        return slice(place, place + 1)
