"""Folders of results: one run at a time in each, nothing replaced unasked, contents told apart by digest."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar, cast

from ppgn import paths
from ppgn.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none: there runs in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

Function = TypeVar("Function", bound=Callable[..., Any])
TRIES = 20  # of a lock that is held, 0.1 s apart: whoever lets go of one holds it for a moment
LEAST = 10_000_000  # bytes that have to be free where results are written


def digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `InputError` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error


def of(out: str | Path | None) -> Path | None:
    """The folder that `out` names, None without one."""
    return None if out is None else Path(out).expanduser()


def chosen(own: Path | None, given: str | Path | None, overwrite: bool, *patterns: str) -> Path:
    """The folder that results are saved in: the one that is `given`, or else their own.

    Raises `InputError` where there is neither, and where another folder than their own holds files of these names,
    unless they may be overwritten.
    """
    place = own if given is None else of(given)
    if place is None:
        raise InputError("these results have no folder; give one: save(FOLDER)")
    if place != own:
        check_free(find(place, *patterns), overwrite)
    return place


def check_free(found: Iterable[Path], overwrite: bool, more: str = "") -> None:
    """Raise `InputError` where results of an earlier run are `found`, unless they may be overwritten.

    `more` is what else could be typed, as "resume=true to go on with it".
    """
    for path in () if overwrite else found:
        given = f"'{path.parent}' holds the results of an earlier run ({path.name})"
        ways = ", ".join(filter(None, [more, "overwrite=true to replace them", "or another out=FOLDER"]))
        raise InputError(f"{given}; give {ways}")


def results(*patterns: str) -> Callable[[Function], Function]:
    """A decorator of functions with the keywords `out`, a folder for files of these names, and `overwrite`.

    Such a function works alone in `out`, and only where `LEAST` bytes are free and none of these files lies, unless
    they may be overwritten: those that it has not replaced by its end are deleted. If it gives `Results`, these are
    saved. Raises `InputError` before the function is called.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def guarded(*given: Any, **named: Any) -> Any:
            folder = of(named.get("out"))
            if folder is None:
                return function(*given, **named)
            with alone(folder):
                before = {path: path.stat() for path in find(folder, *patterns)}
                check_free(before, bool(named.get("overwrite")))
                done = function(*given, **named)
                if isinstance(done, Results):
                    done.save()
                for path, state in before.items():
                    if path.exists() and os.path.samestat(state, path.stat()):
                        path.unlink()
            return done

        return cast(Function, guarded)

    return decorate


@dataclass(frozen=True, repr=False)
class Results:
    """What was found with some settings, in a folder if there is one. Subclasses say what their files are and hold."""

    files: ClassVar[tuple[str, ...]]  # names, or patterns of such
    reported: ClassVar[str] = "report.json"

    folder: Path | None
    config: Mapping[str, Any]

    def report(self) -> Mapping[str, Any]:
        """What report.json says."""
        raise NotImplementedError

    def write(self, place: Path) -> None:
        """Write the files beside report.json and config.yaml into a folder."""
        raise NotImplementedError

    def save(self, folder: str | Path | None = None, *, overwrite: bool = False) -> None:
        """Write all files into `folder`, by default that of `out`.

        Raises `InputError` where the system refuses, and where another folder holds results but for `overwrite`.
        """
        place = chosen(self.folder, folder, overwrite, *self.files)
        paths.write(place / "config.yaml", paths.as_yaml(self.config))
        paths.write(place / self.reported, paths.as_json(self.report()))
        self.write(place)


def find(folder: Path, *patterns: str) -> list[Path]:
    """The files in a folder with such names, sorted."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Keep other runs out of `folder`, if there is one, until the block ends.

    Raises `InputError` as `locked` does, and where fewer than `LEAST` bytes are free.
    """
    if folder is None:
        yield
        return
    paths.check_writable(folder, LEAST)
    with locked(folder):
        yield


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


def at_work(folder: Path) -> bool:
    """Whether a run is at work in a folder that this machine sees."""
    return (folder / ".lock").exists()


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
