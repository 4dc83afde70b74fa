"""`ppgn models`, `ppgn classes` and `ppgn units`: tables of what other commands take."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn import files, paths
from ppgn.cli import config as configs
from ppgn.cli import help
from ppgn.conditions import words as conditions
from ppgn.errors import InputError, unknown
from ppgn.networks import labels, layout


def models(words: Sequence[str]) -> int:
    """Print what `model=` and `condition=` take -> exit status 0. Raises `InputError` where there are `words`."""
    if words:
        raise InputError(f"ppgn models takes no further words, but got '{' '.join(words)}'")
    shipped = []
    for name, path in files.shipped(files.MODEL).items():
        head = files.head(path, files.MODEL)
        code, image = ("x".join(map(str, head["shapes"][part])) for part in ("code", "signal"))
        shipped.append((name, code, image, f"{path.stat().st_size / 1e6:.1f} MB", head["card"].get("description", "")))
    asked = [(name, help.first(f"condition/{name}")) for name in paths.options("condition")]
    print(help.table([("MODEL", "CODE", "IMAGE", "SIZE", "DESCRIPTION"), *shipped]), end="\n\n")
    print(help.table([("CONDITION", "TARGET"), *asked]))
    return 0


def classes(words: Sequence[str]) -> int:
    """Print the classes that `words` ask for, with their kinds where these are known -> exit status 0.

    Raises `InputError` for what is no word of any.
    """
    bare = [word for word in words if "=" not in word]
    pattern = [f"pattern={' '.join(bare)}"] if bare else []
    _, _, settings = configs.read("classes", [*pattern, *(word for word in words if "=" in word)])
    condition, asked = str(settings["condition"]), settings["pattern"]
    listed = conditions.vocabulary(condition)
    found = conditions.find(condition, None if asked is None else str(asked))
    if condition == "imagenet":
        rows = [(str(k), listed[k], ", ".join(labels.parents(k)[:4])) for k in found]
        print(help.table([("INDEX", "CLASS", "KIND OF"), *rows]))
    elif condition == "caption":
        print(help.table([("WORD",), *((listed[k],) for k in found)]))
    else:
        print(help.table([("INDEX", "CLASS"), *((str(k), listed[k]) for k in found)]))
    return 0


def units(words: Sequence[str]) -> int:
    """Print the layers of a network with their units and places -> exit status 0. Raises `InputError`."""
    _, _, settings = configs.read("units", words)
    name, layer = str(settings["network"]), settings["layer"]
    layouts = layout.layers(name, settings["size"])
    if not layouts:
        raise InputError(f"network '{name}' has no layers that can be read: a TorchScript keeps its own to itself")
    outer = layer is None
    shown = [n for n in layouts if (n.count(".") < 2 if outer else f"{n}.".startswith(f"{layer}."))]
    if not shown and not outer:
        raise unknown(f"layer of {name}", str(layer), layouts)
    rows = ((n, str(layouts[n].units), str(layouts[n])) for n in shown)
    print(help.table([("LAYER", "UNITS", "PLACES"), *rows]))
    return 0
