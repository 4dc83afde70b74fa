"""`ppgn dissect`: words to `ppgn.dissect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.dissection import dissect


def main(words: Sequence[str]) -> int:
    """Run `ppgn dissect` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("dissect", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"dissect-{slug(*filter(None, (given.get('model'), given['layer'])))}")
    done = dissect(**given, progress=True)
    print(f"{done!r} -> {done.folder}")
    return 0
