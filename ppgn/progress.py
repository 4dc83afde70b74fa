"""What is told of work while it runs: to a person on stderr, and to whoever follows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    from torch import Tensor

    from ppgn.contracts import Info, State

LOOK = 0.5  # seconds between two looks at log p; a look waits for the device
WIDTH = 30  # letters, at most, of what is asked for
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} samples{postfix}, {remaining} left"
_said = False


class Follower:
    """Hears what a function of ppgn does, in the thread that does it; what a method of it raises ends that work."""

    def said(self, text: str) -> None:
        """What is being loaded."""

    def begun(self, run: Any) -> None:
        """The `ppgn.runs.Run` whose chains are about to walk."""

    def step(self, step: int, steps: int, state: State, seeds: Sequence[int]) -> None:
        """So many steps of so many are done by a batch of chains, one of each of the `seeds`."""

    def moved(self, what: str, done: float, total: float | None) -> None:
        """Of other work, whatever has a bar, so much is done of so much."""


_follower: ContextVar[Follower] = ContextVar("follower", default=Follower())  # noqa: B039 (it has no state)


@contextmanager
def followed(by: Follower) -> Iterator[None]:
    """Within the block `by` hears all that this thread does."""
    before = _follower.set(by)
    try:
        yield
    finally:
        _follower.reset(before)


def follower() -> Follower:
    """Who is to be told."""
    return _follower.get()


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar on stderr of whose moves a follower hears, also where it is not shown."""

    def __init__(self, things: Any = None, desc: str = "", total: float | None = None, **named: Any) -> None:
        total = len(things) if total is None and hasattr(things, "__len__") else total
        super().__init__(things, desc=desc, total=total, **named)
        self._what, self._moved, self._all = desc, 0.0, total

    def __iter__(self) -> Iterator[Any]:
        for number, thing in enumerate(super().__iter__()):
            follower().moved(self._what, number, self._all)
            yield thing

    def update(self, n: float | None = 1) -> bool | None:
        """Move on by `n`."""
        self._moved += n or 0
        follower().moved(self._what, self._moved, self._all)
        return super().update(n)

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Say what is being done."""
        self._what = desc or ""
        super().set_description(desc, refresh)


def say(text: str, shown: bool = True) -> None:
    """Tell a person what is being done; the next such text, or `hush`, takes its place. Silent but on a terminal."""
    global _said
    follower().said(text)
    if shown and sys.stderr.isatty():
        sys.stderr.write(f"\r\033[Kppgn: {text} …")
        sys.stderr.flush()
        _said = True


def hush() -> None:
    """Take away what was said last."""
    global _said
    if _said:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
        _said = False


class Watch(ExitStack):
    """Follows the steps of all batches: counts them, moves a bar on stderr and keeps frames for an animation.

    `targets` are what the chains walk through, by name. The bar appears with the first step, so that an error before it
    stays a single line; it tells how much of the samples is done, and how probable the condition finds the target now.
    """

    def __init__(
        self, name: str, targets: Sequence[str], frame_every: int, shown: bool, store: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.name, self.targets, self.frame_every, self.shown, self.store = name, targets, frame_every, shown, store
        # Of every batch, moment by moment: signals (B, ...) as stored, log p (B,) and the number of the target.
        self.batches: list[list[tuple[Tensor, Tensor, int]]] = []
        self.walked = 0  # steps of chains in this batch
        self._done, self._total, self._looked = 0, 0, 0.0
        self._bar: tqdm[NoReturn] | None = None

    def begin(self, done: int, total: int) -> None:
        """Another batch, after so many samples of so many."""
        self.batches.append([])
        self.walked, self._done, self._total = 0, done, total

    def step(self, step: int, steps: int, state: State, info: Info) -> None:
        """The callback of a chain."""
        count = len(state.code)
        self.walked += count
        target = (step - 1) * len(self.targets) // steps
        if self.frame_every and (step % self.frame_every == 0 or step == steps):
            signals = self.store(state.evaluation.image).cpu()
            self.batches[-1].append((signals, state.evaluation.log_condition.detach().cpu(), target))
        if not self.shown:
            return
        if self._bar is None:
            hush()
            often = 0.1 if sys.stderr.isatty() else 2.0
            bar: Any = tqdm(desc=self.name, total=self._total, bar_format=FORMAT, mininterval=often)
            self._bar = self.enter_context(bar)
        self._bar.update(self._done + count * step / steps - self._bar.n)
        now = time.monotonic()
        if now - self._looked > LOOK or step == steps:
            self._looked = now
            seen = _seen(self.targets[target], state.evaluation.log_condition)
            self._bar.set_postfix_str(seen, refresh=step == steps)


def _seen(target: str, log_p: Tensor) -> str:
    """How much of a target is seen, by the log p of the chains, (B,): in per cent where these are probabilities."""
    name = target if len(target) <= WIDTH else f"{target[: WIDTH - 1]}…"
    if bool((log_p > 1e-3).any()):
        return f"{name}: {log_p.nanmean().item():.3g}"
    return f"{name} seen: {100 * log_p.exp().nanmean().item():.0f}%"
