"""Charts as PNG files, by matplotlib."""

from __future__ import annotations

import io
from typing import Any

from ppgn.errors import library


def figure(width: float, height: float) -> Any:
    """An empty figure of so many inches. Raises `InputError` where matplotlib is not installed."""
    made: Any = library("matplotlib.figure", "charts need matplotlib", "toolbox").Figure
    return made(figsize=(width, height), layout="constrained")


def png(figure: Any) -> bytes:
    """A figure as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
