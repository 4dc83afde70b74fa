"""Several batches at once in this process, each on one core: for networks too small to keep several cores busy."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Self, TypeVar

import torch
from torch import nn

from ppgn import files
from ppgn.engines.contract import Batch, Here, Tell, Walk
from ppgn.progress import LOOK, Follower, Seen, follower
from ppgn.shards import Part

Held = TypeVar("Held")
Item = TypeVar("Item")
Found = TypeVar("Found")
MOST = 16  # batches at a time; each takes memory of its own
UNCOPIED = (TypeError, ValueError, RuntimeError, AttributeError)  # what is raised where something cannot be copied
SWITCH = 2e-4  # seconds after which a thread that waits for Python's interpreter gets it; Python's 5 ms slow steps down


class _EndedError(Exception):
    """Nobody waits for this batch any more."""


def is_small(model: Any) -> bool:
    """Whether several threads are too many for one batch of it: for the models that come along."""
    return isinstance(model, str) and model in files.shipped(files.MODEL)


def at_once(model: Any, device: torch.device, most: int, *given: Any) -> int | None:
    """How many batches of at most `most` are to be walked at once here; None leaves all threads to one of them.

    Who follows the steps, or gives a function of their own (`given` are what was), hears of one batch at a time.
    """
    if device.type != "cpu" or not is_small(model):
        return None
    brought = any(callable(thing) and not isinstance(thing, nn.Module) for thing in given)
    return 1 if brought or type(follower()) is not Follower else max(1, min(torch.get_num_threads(), MOST, most))


def dealt(things: Sequence[Item], size: int, threads: int | None) -> list[Sequence[Item]]:
    """Batches of at most `size`, so many that every thread has one, if there is enough for all."""
    size = min(size, -(-len(things) // (threads or 1)))
    return [things[first : first + size] for first in range(0, len(things), size)]


@contextmanager
def side_by_side(
    held: Held, size: int | None, step: Callable[..., Any]
) -> Iterator[Callable[[Callable[[Held, Item, Callable[..., None]], Found], Sequence[Item]], list[Found]]]:
    """Within the block the function that comes back calls another with each of some things, `size` at once.

    That gets `held`, or a copy of it, the thing, and a callback that calls `step`, one call at a time; the callback
    ends work that nobody waits for any more. size: as `at_once` says.
    """
    idle: SimpleQueue[Held] = SimpleQueue()
    idle.put(held)
    lock, threads, patience = Lock(), torch.get_num_threads(), sys.getswitchinterval()
    with suppress(*UNCOPIED):
        for _ in range(1, size or 1):
            idle.put(copy.deepcopy(held))

    def each(work: Callable[[Held, Item, Callable[..., None]], Found], items: Sequence[Item]) -> list[Found]:
        ended = False

        def tell(*said: Any) -> None:
            with lock:
                if ended:
                    raise _EndedError
                step(*said)

        def one(item: Item) -> Found:
            mine = idle.get()
            try:
                return work(mine, item, tell)
            finally:
                idle.put(mine)

        workers = min(idle.qsize(), len(items))
        if workers < 2:
            return list(map(one, items))
        with ThreadPoolExecutor(workers) as pool:
            try:
                return list(pool.map(one, items))
            except BaseException:
                ended = True
                raise

    torch.set_num_threads(1 if size else threads)
    sys.setswitchinterval(SWITCH)
    try:
        yield each
    finally:
        sys.setswitchinterval(patience)
        torch.set_num_threads(threads)


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
        except UNCOPIED:
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
