"""A table of figures with their intervals, and the pictures that go with its rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ppgn import files, folders, paths
from ppgn.media import images
from ppgn.metrics import bootstrap
from ppgn.metrics.bootstrap import Estimate

FILES = ("evaluation.json", "grid*.png")  # by which a folder of results is known
Figures = Mapping[str, Estimate | None]  # None: cannot be measured


@dataclass
class Table:
    """Rows of figures by name, in the order measured; with `out` all is written there after every row.

    `about` says what was measured: what, model, data, device, settings. `InputError` for an `out` not to be written.
    """

    about: dict[str, Any]
    out: Path | None = None
    rows: dict[str, Figures] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # what else is known of a row, JSON-able
    grids: dict[str, Image.Image] = field(default_factory=dict)  # by the name of their file

    def __post_init__(self) -> None:
        if self.out is not None:
            paths.check_writable(self.out, 50_000_000)

    def add(self, name: str, figures: Figures, grids: Mapping[str, Image.Image] | None = None, **facts: Any) -> None:
        """Take a row of figures, with pictures and further facts."""
        self.rows[name], self.facts[name] = dict(figures), facts
        self.grids |= grids or {}
        if self.out is not None:
            self.save(self.out)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write evaluation.json and the pictures, NAME.png each.

        Raises `InputError` where the system refuses, and where another folder than `out` holds results that may not be
        overwritten.
        """
        folder = Path(folder).expanduser()
        if folder != self.out:
            folders.check_free(folders.find(folder, *FILES), overwrite)
        rows = {name: plain({**figures, **self.facts[name]}) for name, figures in self.rows.items()}
        report = self.about | {"versions": files.versions(), "interval": bootstrap.LEVEL, "rows": rows}
        text = json.dumps(report, ensure_ascii=False, indent=2, allow_nan=False)
        paths.write(folder / "evaluation.json", text + "\n")
        for name, grid in self.grids.items():
            images.write(folder / f"{name}.png", grid)

    def __str__(self) -> str:
        """Aligned columns, intervals in brackets, and below them what was skipped."""
        lines = self._cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        skipped = {name: facts["skipped"] for name, facts in self.facts.items() if "skipped" in facts}
        return "\n".join([*table, *(f"{name} skipped: {reason}" for name, reason in skipped.items())])

    def __repr__(self) -> str:
        return f"<Table {self.about.get('what')}: {', '.join(self.rows)}>"

    def to_markdown(self) -> str:
        """The same as a Markdown table."""
        head, *rows = (f"| {' | '.join(line)} |" for line in self._cells())
        return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])

    def _cells(self) -> list[list[str]]:
        columns = list(dict.fromkeys(key for figures in self.rows.values() for key in figures))
        rows = [[name, *(_cell(row.get(column)) for column in columns)] for name, row in self.rows.items()]
        return [["", *columns], *rows]


def plain(value: Any) -> Any:
    """What JSON can say of a value: of other objects their class and fields, None for a number that is not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        value = ({} if isinstance(value, Estimate) else {"_target_": type(value).__name__}) | asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else type(value).__name__


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    digits = 1 if abs(estimate.value) >= 10 else 3
    value = f"{estimate.value:.{digits}f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
