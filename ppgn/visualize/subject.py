"""What a visualisation is of: a class, or a unit of a layer, by the same words for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ppgn import arguments
from ppgn.conditions.classifier import Classifier
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.networks import labels, own
from ppgn.networks.network import Network
from ppgn.visualize.rectifiers import opened, uncapped


@dataclass(frozen=True)
class Subject:
    """A unit as a condition, whose log p is that of the unit among all of its layer, and what it is called."""

    condition: Classifier
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the unit's activation, (B,), a class's being its logit."""
        values: Tensor = self.condition.network(x).float()
        return values[:, list(self.condition.indices)].logsumexp(1)

    @property
    def scale(self) -> str:
        """What its activation is, in words."""
        if not isinstance(self.condition, Unit):
            return "the logit of the class"
        return f"the layer's value at {self.condition.position}, without the ceiling of a rectifier that ends it"


def subject(
    unit: str | int,
    *,
    network: Any = "efficientnet_lite1",
    size: int | None = None,
    weights: str | Path | None = "default",
    layer: str | None = None,
    position: str | int | Sequence[int] = "center",
    device: torch.device | str = "cpu",
) -> Subject:
    """A unit of a network; network, size and weights are what `ppgn.networks.own.load` takes.

    A rectifier that ends its layer has no ceiling, and a gradient where it is shut, too, so that a unit at 0 can be
    climbed to.

    layer: its dotted name; without one the unit is a class, by name or number. position: as `Unit` has it.

    Raises `InputError` for an unknown network, layer, unit or class, and for a position where the layer has none.
    """
    seen = own.load(network, size, weights)
    asked = arguments.target(unit, "one unit at a time; --multirun unit=3,17 draws one after another")
    if asked is None:
        raise InputError("unit is missing: give unit=NUMBER of a layer, or unit=NAME of a class")
    if layer is None:
        if position != "center":
            raise InputError(f"position={position} needs layer=NAME; classes have no positions")
        output = Classifier(seen, asked).to(device).eval().requires_grad_(False)
        return Subject(output, f"{seen.name} {output.name if seen.labels else f'class {output.name}'}")
    (condition,) = units(opened(seen, layer), layer, asked, position, torch.device(device), "softmax")
    return Subject(condition, f"{seen.name} {layer} {condition.name}")


def units(
    seen: Network, layer: str | None, unit: Any, position: Any, device: torch.device, score: str = "activation"
) -> list[Unit]:
    """Units of a layer by number, or outputs by name, as `Unit` has position and score, without a ceiling.

    Raises `InputError`.
    """
    if layer is None:
        shapes = seen.layer_shapes() if seen.layers() else {}
        if not shapes:
            raise InputError(f"the layers of {seen.name} cannot be read; give a network that is a PyTorch module")
        layer = next(reversed(shapes))
    wanted = [one for one in arguments.targets(unit) if one is not None]
    if not wanted:
        raise InputError("unit is missing: add unit=NUMBER")
    seen = uncapped(seen, layer)
    shape = seen.layer_shapes().get(layer)
    if shape and len(shape) == 1 and position not in ("center", "mean", "max"):
        raise InputError(f"position={position}: layer '{layer}' of {seen.name} has no positions; leave it out")
    named = seen.labels is not None and shape == (seen.classes,)
    found: list[Unit] = []
    for one in wanted:
        index: Any = one
        if named and not str(one).strip().isdecimal():
            index = labels.find(seen.labels, one, seen.classes)
        made = Unit(seen, layer, index, position, score) if not found else found[0].with_target(index)
        with torch.no_grad():  # refuses an unknown layer or position before the work begins
            made(inner(made).blank())
        made.name = labels.short(seen.labels)[made.index] if named and seen.labels else f"unit {made.index}"
        found.append(made.to(device).eval().requires_grad_(False))
    return found


def inner(unit: Unit) -> Network:
    """The network that a unit is in."""
    return cast(Network, unit.network.body.network)
