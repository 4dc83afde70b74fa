"""`ppgn serve`: words to `ppgn.web.serving.serve`."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn import progress
from ppgn.cli import config as configs


def main(words: Sequence[str]) -> int:
    """Run `ppgn serve` with `words`, key=value each, until it is interrupted -> exit status 0. Raises `InputError`."""
    _, given, _ = configs.read("serve", words)
    from ppgn.web.serving import serve

    progress.hush()
    serve(**given)
    return 0
