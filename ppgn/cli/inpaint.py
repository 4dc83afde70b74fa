"""`ppgn inpaint`: words to `ppgn.inpaint`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.errors import InputError
from ppgn.inpainting.filling import ALONE, inpaint


def main(words: Sequence[str]) -> int:
    """Run `ppgn inpaint` with `words`, key=value each -> exit status: 1 where every completion failed, else 0."""
    _, given, _ = configs.read("inpaint", words)
    if given.get("condition") == ALONE and given.get("target") is None:
        raise InputError(f"condition={ALONE} has nothing to ask for: add target=NAME")
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"inpaint-{Path(str(given['image'])).stem}")
    completed = inpaint(**given, progress=True)
    print(f"{completed.summary()} -> {completed.folder}")
    if completed.failed < len(completed):
        return 0
    print("ppgn: every seed failed on a number that is not finite; try other settings of the sampler", file=sys.stderr)
    return 1
