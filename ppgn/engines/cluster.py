"""Workers of a Ray cluster, on one machine or on many (the extra `cluster`)."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ppgn.engines.contract import Batch, LostError, Tell, Walk
from ppgn.engines.processes import cores
from ppgn.errors import InputError, library, why
from ppgn.progress import LOOK, Seen
from ppgn.shards import Part

HERE = "local"  # a cluster of this machine alone, for one run
LOOPBACK = ("127.", "localhost:", "[::1]")
ANSWER, READY = 5.0, 60.0  # seconds that a cluster may take to answer, and a worker to be ready before that is said
STORE = 128 * 2**20  # bytes of a local cluster's object store: a batch of every worker


@dataclass
class _Hired:
    actor: Any
    batch: Batch | None = None


class Cluster:
    """`ppgn.engines.contract.Engine` by Ray: an actor a worker, each with a GPU or a core.

    address: of a cluster, HOST:PORT or ray://HOST:PORT; "local" starts one here, "auto" takes the one that this machine
    belongs to, if any, else "local". workers: how many at most, by default as many as the cluster has room for, however
    it grows. device: cpu or cuda; auto is cuda where the cluster has GPUs.
    """

    def __init__(self, address: str, workers: int | None, device: str) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device={device} is not one of a cluster; use cpu, cuda or auto")
        self.address, self.workers, self.wanted = str(address), workers, device
        self.threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        self.idle: list[_Hired] = []
        self.awaited: dict[Any, _Hired] = {}  # by what they will give
        self._size, self._looked, self._began = workers or 1, 0.0, 0.0

    def __enter__(self) -> Self:
        """Connect. Raises `InputError` where there is no cluster, and without the extra."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = _found(self.address)
        if address == HERE or address.startswith(LOOPBACK):  # nobody else is to reach it: Ray runs what it is sent
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        self.ray = library("ray", f"cluster={self.address} needs Ray", "cluster")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == HERE:
            options |= {"num_cpus": self.workers or cores(), "include_dashboard": False, "object_store_memory": STORE}
        with suppress(AttributeError):  # it prints to stdout what `LostError` says
            self.ray._private.worker.print_to_stdstream = lambda *_, **__: None
        try:
            self.ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            advice = "if it asks for a token, set RAY_AUTH_MODE=token"
            raise InputError(f"cannot use cluster={self.address}: {why(error)}; {advice}") from error
        gpus = self._room("GPU")
        if self.wanted == "cuda" and not gpus:
            raise InputError(f"device=cuda cannot be used: cluster={self.address} has no GPU; use device=cpu")
        self.device = torch.device("cuda" if gpus and self.wanted != "cpu" else "cpu")
        return self

    def __exit__(self, *_: object) -> None:
        for hired in (*self.idle, *self.awaited.values()):
            self.ray.kill(hired.actor)
        self.ray.shutdown()

    def _room(self, kind: str) -> int:
        """How many GPUs or CPUs the cluster has."""
        return int(self.ray.cluster_resources().get(kind, 0))

    @property
    def size(self) -> int:
        """How many workers there are to be by now; looked at again from time to time."""
        now = time.monotonic()
        if self.workers is None and now - self._looked > LOOK:
            self._size, self._looked = max(1, self._room("GPU" if self.device.type == "cuda" else "CPU")), now
        return self._size

    def hire(self, make: Callable[[str], Walk], tell: Tell) -> None:
        """Ask the cluster for the workers; those that it has no room for come when it has."""
        gpu = self.device.type == "cuda"
        actor = self.ray.remote(num_cpus=int(not gpu), num_gpus=int(gpu), max_concurrency=2)(_Worker)
        given = self.ray.put(make), str(self.device), self.threads, os.getcwd()
        self.tell, self._new, self._began = tell, lambda: actor.remote(*given), time.monotonic()
        self._fill()

    def _fill(self) -> None:
        while len(self.idle) + len(self.awaited) < self.size:
            hired = _Hired(self._new())
            self.awaited[hired.actor.load.remote()] = hired

    @property
    def free(self) -> int:
        """How many have loaded the models and have no batch."""
        return len(self.idle)

    @property
    def at_work(self) -> int:
        """How many have one."""
        return sum(hired.batch is not None for hired in self.awaited.values())

    def start(self, batch: Batch) -> None:
        """Send the batch to one that is free."""
        hired = self.idle.pop()
        hired.batch = batch
        self.awaited[hired.actor.work.remote(batch)] = hired

    def wait(self) -> list[tuple[Batch | None, Part | Exception]]:
        """What has been done, and who was lost."""
        happened: list[tuple[Batch | None, Part | Exception]] = []
        for done in self.ray.wait(list(self.awaited), timeout=LOOK)[0]:
            hired = self.awaited.pop(done)
            batch, hired.batch = hired.batch, None
            try:
                said = self.ray.get(done)
            except self.ray.exceptions.RayError as error:
                self.ray.kill(hired.actor)
                happened.append((batch, LostError(why(error))))
                continue
            self.idle.append(hired)
            if said is not None:
                happened.append((batch, said))
        self._fill()
        self._ask()
        return happened

    def _ask(self) -> None:
        """Ask those at work how far they are."""
        asked = {hired.actor.look.remote(): hired for hired in self.awaited.values() if hired.batch is not None}
        for answer in self.ray.wait(list(asked), num_returns=len(asked), timeout=LOOK)[0] if asked else ():
            with suppress(self.ray.exceptions.RayError):  # as `wait` will find
                seen, batch = self.ray.get(answer), asked[answer].batch
                if seen is not None and batch is not None:
                    self.tell(batch, seen)
        if not asked and not self.idle and time.monotonic() - self._began > READY:
            kind = "GPU" if self.device.type == "cuda" else "CPU"
            free = self.ray.available_resources().get(kind, 0)
            given = f"no worker is ready after {READY:.0f} s; cluster={self.address} has {free:g} {kind}s free"
            print(f"ppgn: {given}; still waiting", file=sys.stderr)
            self._began = math.inf


class _Worker:
    """What runs on the cluster: a thread walks while another one answers."""

    def __init__(self, make: Callable[[str], Walk], device: str, threads: int, folder: str) -> None:
        with suppress(OSError):  # another machine
            os.chdir(folder)
        self.make, self.device, self.threads = make, device, threads
        self.seen: Seen | None = None

    def load(self) -> Exception | None:
        """Load the models -> what was wrong."""
        torch.set_num_threads(self.threads)
        try:
            self.walk = self.make(self.device)
        except Exception as error:
            return error
        return None

    def work(self, batch: Batch) -> Part | Exception:
        """Walk a batch -> its samples, or what was wrong."""
        torch.set_num_threads(self.threads)
        self.seen = None
        try:
            return self.walk(batch, self._note)
        except Exception as error:
            return error

    def _note(self, seen: Seen) -> None:
        self.seen = seen

    def look(self) -> Seen | None:
        """How far it is."""
        return self.seen


def _found(address: str) -> str:
    """The address of the cluster that is meant, or HERE. Raises `InputError` where nobody answers."""
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    if address == "auto" and not named:
        with suppress(OSError):  # where `ray start` says what it started
            there = (Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster").read_text().strip()
            return there if _answers(there) else HERE
    named = named or HERE
    if named != HERE and not _answers(named):
        advice = "ray start --head starts one, cluster=local one for this run"
        raise InputError(f"no cluster answers at {named}; {advice}")
    return named


def _answers(address: str) -> bool:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
