"""Errors that a person can act upon: one line, what was given and what to type instead."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

Name = TypeVar("Name")


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
    near = nearest(str(name), names)
    listed = f"{'nearest' if near else 'for example'}: {', '.join(near or names[:5])}" if names else ""
    return InputError("; ".join(filter(None, (f"unknown {kind} '{name}'", listed, hint))))


def check_known(kind: str, name: Name, choices: Iterable[str], hint: str = "") -> Name:
    """The `name`. Raises `unknown` unless it is one of the choices."""
    names = list(choices)
    if name not in names:
        raise unknown(kind, str(name), names, hint)
    return name


def first_line(error: BaseException) -> str:
    """What an exception says in its first line."""
    return str(error).strip().split("\n")[0]


def why(error: BaseException) -> str:
    """What an exception of any library says, in one line for a person who typed its arguments."""
    said = first_line(error)
    if not isinstance(error, TypeError | AttributeError | LookupError):
        return said or type(error).__name__
    if unexpected := re.search(r"unexpected keyword argument '(\w+)'", said):
        return f"it takes no '{unexpected[1]}'"
    if missing := re.search(r"missing \d+ required .*?: (.*)", said):
        return f"it needs {missing[1]}"
    return "one of its arguments is of the wrong kind"


def library(module: str, needs: str, extra: str) -> Any:
    """A module of an optional dependency. Raises `InputError` where it is missing: who `needs` what, and the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{needs}: pip install 'ppgn[{extra}]'") from error
