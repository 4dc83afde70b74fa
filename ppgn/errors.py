"""Errors that a person can act upon: one line, what was given and what to type instead."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the user typed or supplied cannot be used. The command line prints it and exits with status 2."""


def nearest(name: str, choices: Iterable[str], n: int = 5) -> list[str]:
    """The `n` choices most like `name`, best first; choices that contain it as a word come before mere look-alikes."""
    names = list(dict.fromkeys(choices))
    wanted = name.lower().strip()
    lowered = {choice.lower(): choice for choice in names}
    containing = sorted((c for c in lowered if wanted and wanted in c), key=len)
    alike = difflib.get_close_matches(wanted, lowered, n=n, cutoff=0.5)
    return [lowered[c] for c in dict.fromkeys([*containing, *alike])][:n]


def unknown(kind: str, name: str, choices: Iterable[str], hint: str = "") -> InputError:
    """An `InputError` for an unknown `name` of a `kind` that lists the nearest valid ones, or some if none is near."""
    names = list(choices)
    near = nearest(name, names)
    listed = f"{'nearest' if near else 'for example'}: {', '.join(near or names[:5])}" if names else ""
    return InputError("; ".join(filter(None, (f"unknown {kind} '{name}'", listed, hint))))


def library(module: str, needs: str, extra: str) -> Any:
    """A module of an optional dependency. Raises `InputError` where it is missing: who `needs` what, and the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{needs}: pip install 'ppgn[{extra}]'") from error
