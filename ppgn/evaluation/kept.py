"""What was drawn for a table and kept beside it, so that an evaluation goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ppgn import files
from ppgn.errors import InputError

KIND = "ppgn-drawn-1"  # the format of what was drawn, or said of pictures


def kept(out: Path | None, name: str, settings: Any, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by name that were made with these settings, JSON-able, or are made now; kept in `out`/drawn, if any."""
    if out is None:
        return make()
    path = out / "drawn" / f"{name}.safetensors"
    try:
        tensors, metadata = files.load(path, KIND)
        if metadata["settings"] == settings:
            return tensors
    except InputError:
        pass  # none there, or a damaged one
    made = make()
    files.save(path, made, KIND, settings=settings)
    return made
