"""`ppgn models`: what `model=` and `condition=` take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import ppgn.model
from ppgn import building, paths
from ppgn.cli.help import table
from ppgn.errors import InputError


def main(words: Sequence[str]) -> int:
    """Print the table -> exit status 0. Raises `InputError` where there are `words`."""
    if words:
        raise InputError(f"ppgn models takes no further words, but got '{' '.join(words)}'")
    shipped = [("MODEL", "CODE", "IMAGE", "SIZE", "DESCRIPTION"), *map(_row, ppgn.model.available())]
    conditions = [("CONDITION", "TARGET"), *((name, _first_comment(name)) for name in paths.options("condition"))]
    print(table(shipped), table(conditions), sep="\n\n")
    return 0


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    with torch.device("meta"):  # shapes without weights
        generator = building.build(entry["config"]["generator"], trust=())
    code, image = ("x".join(map(str, shape)) for shape in (generator.code_shape, generator.signal_shape))
    return entry["name"], code, image, f"{entry['bytes'] / 1e6:.1f} MB", entry["card"].get("description", "")


def _first_comment(condition: str) -> str:
    """A configuration file says in its first line what it is."""
    text = (paths.conf() / "condition" / f"{condition}.yaml").read_text()
    return text.splitlines()[0].removeprefix("#").strip()
