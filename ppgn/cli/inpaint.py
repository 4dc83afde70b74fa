"""`ppgn inpaint`: words to `ppgn.inpaint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.inpainting import inpaint


def main(words: Sequence[str]) -> int:
    """Run `ppgn inpaint` with `words`, key=value each -> exit status: 1 where every completion failed, else 0."""
    _, given, _ = configs.read("inpaint", words)
    given["image"] = str(given.get("image", ""))
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"inpaint-{Path(given['image']).stem}")
    completed = inpaint(**given, progress=True)
    print(completed.summary())
    return int(completed.failed == len(completed))
