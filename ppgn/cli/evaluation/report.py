"""What is said: a table of figures with their intervals, evaluation.json and pictures."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from ppgn import paths
from ppgn.cli.evaluation.request import Request
from ppgn.metrics import bootstrap
from ppgn.metrics.bootstrap import Estimate

Figures = Mapping[str, Estimate | None]


class Report:
    """The rows measured so far, written as evaluation.json after each, with grid.png for those that have pictures."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.rows: dict[str, dict[str, Any]] = {}
        self.skipped: dict[str, str] = {}
        self.table: dict[str, Figures] = {}

    def add(self, name: str, figures: Figures, **facts: Any) -> None:
        """Take a row of figures, None for what cannot be measured, with further `facts`, and write all files."""
        self.table[name] = figures
        self.rows[name] = {key: _to_json(estimate) for key, estimate in figures.items()} | facts
        self._write()

    def skip(self, name: str, reason: str) -> None:
        """Take a row that cannot be measured, and why."""
        self.table[name], self.rows[name], self.skipped[name] = {}, {"skipped": reason}, reason
        self._write()

    def _write(self) -> None:
        head = {
            "what": self.request.what,
            "model": str(self.request.config.model),
            "data": str(self.request.data.folder),
            "device": str(self.request.device),
            "settings": self.request.settings(),
            "versions": {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()},
            "interval": bootstrap.LEVEL,
        }
        text = json.dumps(head | {"rows": self.rows}, ensure_ascii=False, indent=2, allow_nan=False)
        paths.write(self.request.out / "evaluation.json", text + "\n")

    def __str__(self) -> str:
        """An aligned table, intervals in brackets, and below it what was skipped."""
        columns = list(dict.fromkeys(key for figures in self.table.values() for key in figures))
        lines = [["", *columns]]
        for name, figures in self.table.items():
            lines.append([name, *(_cell(figures.get(column)) for column in columns)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join([*table, *(f"{name} skipped: {reason}" for name, reason in self.skipped.items())])


def _to_json(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {key: end if end is not None and math.isfinite(end) else None for key, end in asdict(estimate).items()}


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    digits = 1 if abs(estimate.value) >= 10 else 3
    value = f"{estimate.value:.{digits}f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
