"""A command in this process, in a folder of its own, and what may never come of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from ppgn.cli import main

SEEN: Counter[str] = Counter()  # what the tests have tried, for the line at their end
SECONDS = 60  # after which a command hangs
# Of what Python says when a value is of the wrong kind: no words for a person who types a command.
LEAKS = re.compile(r"NoneType|not supported between|object is not|has no attribute|unhashable|unsupported oper")


@contextlib.contextmanager
def place(files: Path) -> Iterator[Path]:
    """A new current folder in which everything of `files` is, under its name; the user's home for that while."""
    before, folder = Path.cwd(), Path(tempfile.mkdtemp())
    for path in files.iterdir():
        (folder / path.name).symlink_to(path)
    os.chdir(folder)
    try:
        with mock.patch.dict(os.environ, HOME=str(folder)):
            yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def command(words: list[str]) -> tuple[int, str, list[str]]:
    """Run a command in this process -> exit status, all that it printed, and the lines that say what is wrong.

    Fails for a hang, Python's wording, and a status that does not suit what was said.
    """

    def ring(signal: int, frame: types.FrameType | None) -> None:
        raise SystemError(f"hangs: {words}")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = main(words)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    SEEN[f"commands that end with status {status}"] += 1
    said = re.findall(r"ppgn: .*", err.getvalue())
    notices = [line for line in said if "tells no digest" in line or "too little memory" in line]
    errors = [line for line in said if line not in notices]
    several = "--multirun" in words  # runs, of which each may say why not
    assert (bool(errors) if several else len(errors)) == (status > 0), (words, status, said)
    assert status != 1 or "every seed failed" in errors[0], (words, errors)
    assert not any(LEAKS.search(line) or len(line) > 2000 for line in said), (words, said)
    return status, out.getvalue() + err.getvalue(), errors
