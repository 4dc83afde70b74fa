"""`ppgn card`: words to `ppgn.card`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.card import card


def main(words: Sequence[str]) -> int:
    """Run `ppgn card` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("card", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"card-{slug(given['layer'], given.get('units', given.get('unit')))}")
    done = card(**given, progress=True)
    print(f"{len(done.pages)} pages -> {done.folder}")
    return 0
