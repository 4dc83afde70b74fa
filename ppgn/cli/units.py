"""`ppgn units`: what `condition=unit` can ask for."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn.cli import config as configs
from ppgn.cli.help import table
from ppgn.errors import InputError, unknown
from ppgn.networks import layout


def main(words: Sequence[str]) -> int:
    """Print the layers of a network with their units and places -> exit status 0. Raises `InputError`."""
    _, _, settings = configs.read("units", words)
    name, layer = str(settings["network"]), settings["layer"]
    layouts = layout.layers(name, settings["size"])
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
