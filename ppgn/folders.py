"""Folders of results: one run at a time in each, nothing replaced unasked, contents told apart by digest."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ppgn.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none: there runs in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

TRIES = 20  # of a lock that is held, 0.1 s apart: whoever lets go of one holds it for a moment


def digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `InputError` where it cannot be read."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    return found.hexdigest()


def check_free(found: Iterable[Path], overwrite: bool, more: str = "") -> None:
    """Raise `InputError` where results of an earlier run are `found`, unless they may be overwritten.

    `more` is what else could be typed, as "resume=true to go on with it".
    """
    for path in () if overwrite else found:
        given = f"'{path.parent}' holds the results of an earlier run ({path.name})"
        ways = ", ".join(filter(None, [more, "overwrite=true to replace them", "or another out=FOLDER"]))
        raise InputError(f"{given}; give {ways}")


@contextmanager
def locked(folder: Path, job: str = "") -> Iterator[None]:
    """Keep other runs out of `folder` until the block ends; jobs of different names share it.

    The system lets go of the lock when the process dies, however it dies. Raises `InputError` where another run is at
    work in the folder, and where the system refuses to write there.
    """
    with ExitStack() as held:
        held.enter_context(_lock(folder / ".lock", shared=bool(job)))
        if job:
            held.enter_context(_lock(folder / f".lock-{job}", shared=False))
        yield


@contextmanager
def _lock(path: Path, *, shared: bool) -> Iterator[None]:
    made = [place for place in path.parents if not place.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquired(path, shared)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; choose another place") from error
    try:
        yield
    finally:
        with suppress(OSError):
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # alone: nobody else has the file open as a lock
                path.unlink()
        file.close()
        with suppress(OSError):  # something has been put there
            for place in made:
                place.rmdir()


def _acquired(path: Path, shared: bool) -> IO[bytes]:
    """The lock file, opened and locked. Raises `InputError` where another process holds it."""
    for _ in range(TRIES):
        file = open(path, "a+b")  # noqa: SIM115 (its closing ends the lock)
        try:
            if fcntl is not None:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass  # deleted by its last holder
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
                return file
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                file.close()
                raise
        file.close()
        time.sleep(0.1)
    raise InputError(f"another run is at work in '{path.parent}'; wait for its end, or choose another out=FOLDER")
