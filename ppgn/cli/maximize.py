"""`ppgn maximize`: words to `ppgn.maximize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.maximization import maximize


def main(words: Sequence[str]) -> int:
    """Run `ppgn maximize` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("maximize", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"maximize-{slug(given.get('layer') or 'class', given['unit'])}")
    done = maximize(**given, progress=True)
    print(f"{done} -> {done.folder}")
    return 0
