"""`ppgn deconv`: words to `ppgn.deconv`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.attribution import deconv


def main(words: Sequence[str]) -> int:
    """Run `ppgn deconv` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("deconv", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"deconv-{slug(given.get('layer') or 'output', str(given['unit']))}")
    done = deconv(**given, progress=True)
    print(f"{len(done.maps)} maps -> {done.folder}")
    return 0
