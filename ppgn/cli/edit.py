"""`ppgn edit`: words to `ppgn.edit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.editing import edit


def main(words: Sequence[str]) -> int:
    """Run `ppgn edit` with `words`, key=value each -> exit status: 1 where every chain failed, else 0."""
    _, given, _ = configs.read("edit", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"edit-{Path(str(given['image'])).stem}")
    edited = edit(**given, progress=True)
    print(f"{edited.summary()} -> {edited.folder}")
    return int(edited.failed == len(edited))
