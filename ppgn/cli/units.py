"""`ppgn units`: what `condition=unit` can ask for."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn.cli import config as configs
from ppgn.cli.models import table
from ppgn.errors import unknown
from ppgn.networks import imagenet


def main(words: Sequence[str]) -> int:
    """Print the layers of a network with their units and size -> exit status 0. Raises `InputError`."""
    _, _, settings = configs.read("units", words)
    network, layer = str(settings["network"]), settings["layer"]
    shapes = imagenet.load(network, weights=None).layer_shapes()  # shapes need no weights
    shapes = {name: shape for name, shape in shapes.items() if len(shape) in (1, 3)}
    if layer is None:
        shown = [name for name in shapes if name.count(".") < 2]
    else:
        shown = [name for name in shapes if name == layer or name.startswith(f"{layer}.")]
        if not shown:
            raise unknown(f"layer of {network}", str(layer), shapes)
    rows = [(name, str(shapes[name][0]), "x".join(map(str, shapes[name][1:])) or "-") for name in shown]
    print(table([("LAYER", "UNITS", "POSITIONS"), *rows]))
    return 0
