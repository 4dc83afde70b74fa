"""Several batches at once in this process, each on one core: for networks too small to keep several cores busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self

import torch

from ppgn.engines.contract import Batch, Here, Tell, Walk
from ppgn.progress import LOOK, Seen
from ppgn.shards import Part

SWITCH = 2e-4  # seconds after which a thread that waits for Python's interpreter gets it; Python's 5 ms slow steps down


class _EndedError(Exception):
    """Nobody waits for this batch any more."""


class Threads(Here):
    """`ppgn.engines.contract.Engine`: so many workers, threads of this process, for each of which PyTorch has one.

    What each of them is given shares nothing that changes with the others'.
    """

    def __init__(self, size: int) -> None:
        super().__init__(torch.device("cpu"), threads=1)
        self.size = size
        self.idle: list[Walk] = []
        self.walking: dict[Batch, tuple[Thread, Walk]] = {}
        self.said: SimpleQueue[tuple[Batch, Any]] = SimpleQueue()
        self.ended = False

    def hire(self, make: Callable[[str], Walk], tell: Tell) -> None:
        """Have as many made as there are threads, or as many as can be: one at least."""
        self.tell = tell
        try:
            for _ in range(self.size):
                self.idle.append(make("cpu"))
        except (TypeError, ValueError, RuntimeError, AttributeError):  # something of it cannot be copied
            if not self.idle:
                raise
        self.size = len(self.idle)

    @property
    def free(self) -> int:
        """How many have no batch."""
        return len(self.idle)

    @property
    def at_work(self) -> int:
        """How many have one."""
        return len(self.walking)

    def start(self, batch: Batch) -> None:
        """Start a thread."""
        walk = self.idle.pop()
        thread = Thread(target=self._walk, args=(walk, batch), daemon=True)
        self.walking[batch] = thread, walk
        thread.start()

    def _walk(self, walk: Walk, batch: Batch) -> None:
        def tell(seen: Seen) -> None:
            if self.ended:
                raise _EndedError
            self.said.put((batch, seen))

        try:
            found: Any = walk(batch, tell)
        except Exception as error:
            found = error
        self.said.put((batch, found))

    def wait(self) -> list[tuple[Batch | None, Part | Exception]]:
        """What the next thread to say anything says, if one does within a moment."""
        try:
            batch, said = self.said.get(timeout=LOOK)
        except Empty:
            return []
        if isinstance(said, Seen):
            self.tell(batch, said)
            return []
        thread, walk = self.walking.pop(batch)
        thread.join()
        self.idle.append(walk)
        return [(batch, said)]

    def __enter__(self) -> Self:
        self.patience = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.ended = True
        for thread, _ in self.walking.values():
            thread.join()  # within the moment after which it tells how far it is
        sys.setswitchinterval(self.patience)
        super().__exit__(*error)
