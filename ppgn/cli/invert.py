"""`ppgn invert`: words to `ppgn.invert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.inversion import invert


def main(words: Sequence[str]) -> int:
    """Run `ppgn invert` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("invert", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"invert-{slug(Path(str(given['image'])).stem, str(given['layer']))}")
    done = invert(**given, progress=True)
    print(f"{done} -> {done.folder}")
    return 0
