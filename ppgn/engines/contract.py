"""What an engine must do for `ppgn.sample`, and the one that needs no other process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch

from ppgn import folders
from ppgn.progress import Seen
from ppgn.shards import Part


@dataclass(frozen=True)
class Batch:
    """Seeds whose chains are walked together, and the file that keeps their state, so that another worker goes on."""

    seeds: tuple[int, ...]
    chains: Path | None = None

    @property
    def within_reach(self) -> Path | None:
        """That file, if the worker sees the folder in which the run is at work."""
        return self.chains if self.chains is not None and folders.at_work(self.chains.parent) else None


class LostError(Exception):
    """A worker has ended without an answer. What is said of it tells how."""


Tell = Callable[[Batch, Seen], None]
Walk = Callable[[Batch, Callable[[Seen], None]], Part]


class Engine(Protocol):
    """Workers that hold the models, each with one batch at a time.

    An engine is a context: at its end, and at that of the process however it dies, no worker is left.
    """

    @property
    def size(self) -> int:
        """How many workers there are, or are to be by now."""

    @property
    def device(self) -> torch.device:
        """Where each of them walks, "cpu" or "cuda"; known once the context is entered."""

    def hire(self, make: Callable[[str], Walk], tell: Tell) -> None:
        """Have every worker call `make` with the name of its device, and keep what that gives.

        `make` can be pickled unless the workers are this process. `tell` is called here with what workers report.
        """

    @property
    def free(self) -> int:
        """How many batches could be started now: those that are ready and have none."""

    @property
    def at_work(self) -> int:
        """How many batches are being walked."""

    def start(self, batch: Batch) -> None:
        """Give a batch to a worker that is free."""

    def wait(self) -> list[tuple[Batch | None, Part | Exception]]:
        """What has become of batches within a moment: each comes back once, whatever happens.

        A worker that died gives `LostError`, with None where it had no batch, and another takes its place. What a
        worker raised is given as it is. Whether a batch is tried again is for the caller to say.
        """

    def __enter__(self) -> Self:
        """Find what the engine needs. Raises `InputError` where it is not to be had."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Here:
    """This process: one worker, which walks in `wait`; PyTorch has so many `threads` meanwhile, if that is said."""

    size: int = 1

    def __init__(self, device: torch.device, threads: int | None = None) -> None:
        self.device, self.threads = device, threads
        self.batch: Batch | None = None

    def hire(self, make: Callable[[str], Walk], tell: Tell) -> None:
        """Take the models that are loaded."""
        self.walk, self.tell = make(str(self.device)), tell

    @property
    def free(self) -> int:
        """None within a batch."""
        return int(self.batch is None)

    @property
    def at_work(self) -> int:
        """One, or none."""
        return int(self.batch is not None)

    def start(self, batch: Batch) -> None:
        """Note the batch."""
        self.batch = batch

    def wait(self) -> list[tuple[Batch | None, Part | Exception]]:
        """Walk it."""
        batch, self.batch = self.batch, None
        assert batch is not None
        try:
            return [(batch, self.walk(batch, lambda seen: self.tell(batch, seen)))]
        except Exception as error:
            return [(batch, error)]

    def __enter__(self) -> Self:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads or self.before)
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)
