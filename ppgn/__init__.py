"""Plug & Play Generative Networks: draw what a network wants to see.

`ppgn.load("natural64")` gives a model, `model.sample(condition, seeds)` draws with it. Nothing heavy is imported
before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppgn.model import PPGN, load
    from ppgn.samplers.chains import sample

__all__ = ["PPGN", "load", "sample"]

_HOMES = {"PPGN": "ppgn.model", "load": "ppgn.model", "sample": "ppgn.samplers.chains"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ppgn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
