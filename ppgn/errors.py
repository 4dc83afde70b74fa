"""Errors that a person can act upon: one line, what was given and what to type instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """An `InputError` for an unknown `name` of a `kind` that lists the nearest valid ones."""
    names = list(choices)
    near = nearest(name, names) or names[:5]
    text = f"unknown {kind} '{name}'; nearest: {', '.join(near)}" if near else f"unknown {kind} '{name}'"
    return InputError(f"{text}{'; ' + hint if hint else ''}")
