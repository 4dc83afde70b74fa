"""One run on several devices: a process for each, which walks a share of the seeds and knows nothing of the others."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import torch

from ppgn import shards
from ppgn.errors import InputError

LOOK = 2.0  # seconds between two looks of a process at whether the one that started it is still there
TRIES = 3  # of a process that is killed again and again and gets nothing done meanwhile
PARENT = "PPGN_PARENT"  # environment: the number of the process that started this one
_DEATH = 1  # PR_SET_PDEATHSIG of Linux's prctl


def cores() -> int:
    """Of how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(devices: int, device: torch.device, oversubscribe: bool) -> None:
    """Raise `InputError` where `devices` processes are more than this machine has devices for."""
    if ":" in str(device):
        raise InputError(f"device={device} is one device, not devices={devices}; use device={device.type}")
    there, what = (torch.cuda.device_count(), "GPUs are visible") if device.type == "cuda" else (cores(), "cores")
    if devices > there and not oversubscribe:
        given = f"devices={devices} cannot be used: this machine has {there} {what}"
        raise InputError(f"{given}; use fewer, or oversubscribe=true")


def follow_parent() -> None:
    """End this process with the one whose number stands in PPGN_PARENT: at once on Linux, else within 2 s."""
    parent = int(os.environ.pop(PARENT, 0))
    if not parent:
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)  # what is finished is in files

    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DEATH, signal.SIGKILL)
    threading.Thread(target=look, daemon=True).start()


class Processes:
    """`ppgn WORDS` as so many processes, each a share of `share` (number, count), until all have ended.

    A process that is killed is started anew, and goes on with what it had, unless it is killed `TRIES` times in a row
    without getting anything done. Raises `InputError` where processes end otherwise, after the others have finished.
    """

    def __init__(
        self, words: Sequence[str], devices: int, device: torch.device, folder: Path, share: tuple[int, int] = (1, 1)
    ) -> None:
        self.folder, (number, count) = folder, share
        self.shares = [f"{number + count * place}/{count * devices}" for place in range(devices)]
        gpus = torch.cuda.device_count()
        names = [f"cuda:{place % gpus}" if device.type == "cuda" else "cpu" for place in range(devices)]
        own = ("devices=", "device=", "shard=", "resume=", "overwrite=", "oversubscribe=", "export=")
        kept = [word for word in words if not word.startswith(own)]
        start = [sys.executable, "-m", "ppgn", "sample", *kept, "resume=true"]
        self.lines = [
            [*start, f"device={name}", f"shard={share}"] for name, share in zip(names, self.shares, strict=True)
        ]
        self.environment = {**os.environ, PARENT: str(os.getpid())}
        self.environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))

    def run(self) -> int:
        """Start them and wait -> the exit status. Raises `InputError`, and `KeyboardInterrupt` when they have stopped.

        The first one speaks for itself on stderr.
        """
        with ExitStack() as held:
            said = [held.enter_context(tempfile.TemporaryFile()) for _ in self.lines]
            tried, traces = [0] * len(said), [self._trace(place) for place in range(len(said))]
            children: list[subprocess.Popen[bytes]] = []
            ended: dict[int, int] = {}
            try:
                children += (self._start(place, errors) for place, errors in enumerate(said))
                while len(ended) < len(children):
                    for place, child in enumerate(children):
                        status = child.poll()
                        if place in ended or status is None:
                            continue
                        before, traces[place] = traces[place], self._trace(place)
                        tried[place] = 1 if traces[place] != before else tried[place] + 1
                        if status < 0 and tried[place] < TRIES:
                            print(
                                f"ppgn: process {place + 1} of {len(children)} was killed; it goes on", file=sys.stderr
                            )
                            children[place] = self._start(place, said[place])
                        else:
                            ended[place] = status
                    time.sleep(0.05)
            except BaseException:
                _stop(children)
                raise
            return self._status(ended, said)

    def _status(self, ended: dict[int, int], said: Sequence[IO[bytes]]) -> int:
        failed = [place for place, status in sorted(ended.items()) if status not in (0, 1)]
        if not failed:
            return max(ended.values())
        if ended[failed[0]] > 0 and failed[0] == 0 and len(failed) == len(ended):
            return ended[0]  # it has said why
        said[failed[0]].seek(0)
        lines = said[failed[0]].read().decode(errors="replace").split("\n")
        why = next((f": {line.removeprefix('ppgn: ')}" for line in reversed(lines) if line.startswith("ppgn: ")), "")
        given = f"process {failed[0] + 1} of {len(ended)} ended with status {ended[failed[0]]}{why}"
        raise InputError(f"{given}; the others are done; resume=true goes on with the rest")

    def _start(self, place: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
        errors = None if place == 0 else said
        return subprocess.Popen(
            self.lines[place], env=self.environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )

    def _trace(self, place: int) -> set[tuple[str, int]]:
        """What the process has in the folder: it changes when something is done."""
        job, found = self.shares[place].replace("/", "of"), set()
        for path in shards.results(self.folder, job=job):
            with suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes, and kill those that do not stop within 10 s."""
    for child in children:
        child.send_signal(signal.SIGINT)
    end = time.monotonic() + 10
    for child in children:
        try:
            child.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
