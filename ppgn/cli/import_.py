"""`ppgn import`: words to `ppgn.import_model`."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn.cli import config as configs
from ppgn.interop.importing import import_model


def main(words: Sequence[str]) -> int:
    """Run `ppgn import` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("import", words)
    print(import_model(**given).summary())
    return 0
