"""`ppgn search`: words to `ppgn.search.evolve.evolve`, whose results are files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn.cli import config as configs
from ppgn.search.evolve import evolve


def main(words: Sequence[str]) -> int:
    """Run `ppgn search` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("search", words)
    out = given["out"] = str(given.get("out") or Path("outputs") / "search")
    done = evolve(**given, progress=True)
    best = " ".join(f"{value:.4g}" for value in done.best()[1][0].tolist())
    print(f"{done.generation} generations of {done.space.population} pictures, best score {best} -> {out}")
    return 0
