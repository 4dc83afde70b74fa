"""`ppgn units`: what `condition=unit` can ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppgn.cli import config as configs
from ppgn.cli.help import table
from ppgn.errors import InputError, unknown
from ppgn.networks import layout

if TYPE_CHECKING:
    from ppgn.contracts import Shape


def main(words: Sequence[str]) -> int:
    """Print the layers of a network with their units and places -> exit status 0. Raises `InputError`."""
    _, _, settings = configs.read("units", words)
    name, layer = str(settings["network"]), settings["layer"]
    every = shapes(name, settings["size"])
    layouts = {name: found for name, shape in every.items() if (found := layout.of(shape))}
    if not layouts:
        raise InputError(f"network '{name}' has no layers that can be read: a TorchScript keeps its own to itself")
    if layer is None:
        shown = [name for name in layouts if name.count(".") < 2]
    else:
        shown = [name for name in layouts if name == layer or name.startswith(f"{layer}.")]
        if not shown:
            raise unknown(f"layer of {name}", str(layer), layouts)
    print(table([("LAYER", "UNITS", "PLACES"), *((n, str(layouts[n].units), str(layouts[n])) for n in shown)]))
    return 0


def shapes(name: str, size: int | None) -> Mapping[str, Shape]:
    """The shape of what each layer gives; of networks that come along it is listed, so that torch need not start."""
    listed = json.loads(Path(layout.__file__).with_name("efficientnet_lite.json").read_text())
    if name in listed and size is None:
        return {layer: tuple(shape) for layer, shape in listed[name].items()}
    from ppgn.networks import own

    return own.load(name, size, weights=None).layer_shapes()  # shapes need no weights
