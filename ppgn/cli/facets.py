"""`ppgn facets`: words to `ppgn.facets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.cli.sample import slug
from ppgn.visualize.facets import facets


def main(words: Sequence[str]) -> int:
    """Run `ppgn facets` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, settings = configs.read("facets", words)
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / f"facets-{slug(settings['condition'], given['target'])}")
    done = facets(**given, progress=True)
    print(f"{len(done)} facets of {sum(len(facet.members) for facet in done.found)} pictures -> {done.folder}")
    return 0
