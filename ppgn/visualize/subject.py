"""What a visualisation is of: a class, or a unit of a layer, by the same words for every method."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppgn import arguments
from ppgn.conditions.classifier import Classifier
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, unknown
from ppgn.networks import layout, own
from ppgn.networks.network import Network


@dataclass(frozen=True)
class Subject:
    """A unit as a condition, whose log p is that of the unit among all of its layer, and what it is called."""

    condition: Classifier
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the unit's activation, (B,), a class's being its logit."""
        values: Tensor = self.condition.network(x).float()
        return values[:, list(self.condition.indices)].logsumexp(1)


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

    A rectifier that ends its layer has a gradient where it is shut, too, so that a unit at 0 can be climbed to.

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
        condition = Classifier(seen, asked)
        named = condition.name if seen.labels else f"class {condition.name}"
        return _ready(condition, f"{seen.name} {named}", device)
    shapes = seen.layer_shapes()
    if shapes and layer not in shapes:
        raise unknown(f"layer of {seen.name}", str(layer), shapes, hint="ppgn units lists them")
    found = layout.of(shapes.get(layer, ()))
    if found is not None and str(found) == "-" and position != "center":
        raise InputError(f"position={position}: layer '{layer}' of {seen.name} has no positions; leave it out")
    condition = Unit(opened(seen, layer), layer, asked, position)
    return _ready(condition, f"{seen.name} {layer} unit {condition.index}", device)


class StraightThrough(nn.Module):
    """min(max(x, 0), ceiling) with the gradient of x."""

    def __init__(self, ceiling: float) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x + (x.clamp(0, self.ceiling) - x).detach()


def opened(network: Network, layer: str) -> Network:
    """A copy of a network that computes the same, but whose `layer` has a gradient behind a shut rectifier at its end.

    A network whose layer does not end in a module nn.ReLU or nn.ReLU6 is given back as it is.
    """
    if layer not in network.layers():
        return network
    copy = deepcopy(network)
    outer, name = copy.body.get_submodule(layer.rpartition(".")[0]), layer.rpartition(".")[2]
    while len(outer._modules[name]._modules):  # type: ignore[union-attr]
        outer = outer._modules[name]  # type: ignore[assignment]
        name = [*outer._modules][-1]
    last = outer._modules[name]
    if isinstance(last, nn.ReLU):
        outer._modules[name] = StraightThrough(float("inf"))
    elif isinstance(last, nn.Hardtanh) and last.min_val == 0:
        outer._modules[name] = StraightThrough(float(last.max_val))
    else:
        return network
    side = network.preprocessing.size or 224
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(network.preprocessing.gain)
    with torch.no_grad():
        mine, theirs = (each.features(noise, [layer])[layer] for each in (copy, network))
    return copy if torch.allclose(mine, theirs, atol=1e-5) else network


def _ready(condition: Classifier, name: str, device: torch.device | str) -> Subject:
    return Subject(condition.to(device).eval().requires_grad_(False), name)
