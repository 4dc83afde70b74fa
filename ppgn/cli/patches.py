"""`ppgn patches`: words to `ppgn.patches`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.patches import patches


def main(words: Sequence[str]) -> int:
    """Run `ppgn patches` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("patches", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"patches-{slug(given.get('layer') or 'output', str(given['unit']))}")
    done = patches(**given, progress=True)
    print(f"{len(done.found)} units, {given.get('n', 9)} patches each -> {done.folder}")
    return 0
