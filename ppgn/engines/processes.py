"""Several processes on this machine, for several GPUs or cores: what needs no more than Python."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Self

import torch

from ppgn.engines import memory
from ppgn.engines.contract import Batch, LostError, Tell, Walk
from ppgn.errors import InputError
from ppgn.progress import LOOK, Seen
from ppgn.shards import Part


def cores() -> int:
    """Of how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: SpawnProcess
    device: str
    ready: bool = False
    batch: Batch | None = None


class Processes:
    """`ppgn.engines.contract.Engine`: so many processes, on as many GPUs or on the cores."""

    def __init__(
        self, size: int, device: torch.device, oversubscribe: bool = False, threads: int | None = None
    ) -> None:
        """Each takes so many threads, or its share of the cores.

        Raises `InputError` where they are more than this machine has devices for.
        """
        if ":" in str(device):
            raise InputError(f"device={device} is one device, not devices={size}; use device={device.type}")
        gpus = torch.cuda.device_count()
        there, what = (gpus, "GPUs are visible") if device.type == "cuda" else (cores(), "cores")
        if size > there and not oversubscribe:
            given = f"devices={size} cannot be used: this machine has {there} {what}"
            raise InputError(f"{given}; use fewer, or oversubscribe=true")
        self.size, self.device = size, device
        self.names = [f"cuda:{place % gpus}" if device.type == "cuda" else "cpu" for place in range(size)]
        self.threads = threads or int(os.environ.get("OMP_NUM_THREADS") or max(1, cores() // size))
        self.workers: dict[Connection, _Worker] = {}

    def hire(self, make: Callable[[str], Walk], tell: Tell) -> None:
        """Start the processes. Raises `InputError` where what they need cannot be handed to them."""
        self.tell, self.make = tell, pickled(make)
        for name in self.names:
            self._start(name)

    def _start(self, device: str) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, device, self.threads))
        with _uninterrupted():
            process.start()
        theirs.close()
        self.workers[ours] = _Worker(process, device)
        with suppress(OSError):  # it is dead already, as `wait` will find
            ours.send_bytes(self.make)

    @property
    def free(self) -> int:
        """How many are ready and have no batch."""
        return sum(worker.ready and worker.batch is None for worker in self.workers.values())

    @property
    def at_work(self) -> int:
        """How many have one."""
        return sum(worker.batch is not None for worker in self.workers.values())

    def start(self, batch: Batch) -> None:
        """Send the batch to one that is free."""
        pipe, worker = next(one for one in self.workers.items() if one[1].ready and one[1].batch is None)
        worker.batch = batch
        with suppress(OSError):
            pipe.send_bytes(pickle.dumps(batch))

    def wait(self) -> list[tuple[Batch | None, Part | Exception]]:
        """What the processes have sent, and which of them have died."""
        happened: list[tuple[Batch | None, Part | Exception]] = []
        for pipe in connection.wait(list(self.workers), LOOK):
            assert isinstance(pipe, Connection)
            worker = self.workers[pipe]
            try:
                said = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                del self.workers[pipe]
                pipe.close()
                worker.process.join()
                status = worker.process.exitcode or 0
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                happened.append((worker.batch, LostError(f"process {worker.process.pid} {how}")))
                self._start(worker.device)
                continue
            if isinstance(said, Seen):
                assert worker.batch is not None
                self.tell(worker.batch, said)
                continue
            if said is not None:
                happened.append((worker.batch, said))
            worker.ready, worker.batch = True, None
        return happened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.process.kill()  # what is finished is here, and the chains' state in files
        for pipe, worker in self.workers.items():
            worker.process.join()
            pipe.close()


def pickled(make: Callable[[str], Walk]) -> bytes:
    """What workers need, as bytes. Raises `InputError` where it cannot be."""
    try:
        return pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        given = f"what is asked for cannot be handed to other processes ({error})"
        raise InputError(f"{given}; define it in a module, or use devices=1") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started meanwhile is not interrupted from the keyboard: that is for this process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, device: str, threads: int) -> None:
    """What each process does, until nobody is at the other end of the pipe."""

    def send(said: Any) -> None:
        pipe.send_bytes(pickle.dumps(said))

    torch.set_num_threads(threads)
    memory.keep()
    with suppress(EOFError, OSError):
        try:
            walk: Walk = pickle.loads(pipe.recv_bytes())(device)
        except Exception as error:
            send(error)
            return
        send(None)
        while True:
            batch = pickle.loads(pipe.recv_bytes())
            try:
                said: Any = walk(batch, send)
            except Exception as error:
                said = error
            send(said)
