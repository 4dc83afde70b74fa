"""What is told of work while it runs: to a person on stderr, and to whoever follows it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

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


class Seen(NamedTuple):
    """How far the chains of a batch are: steps done, of how many, and log p of each."""

    step: int
    steps: int
    log_prob: list[float]


class Steps:
    """The callback of a batch of chains: counts their steps, tells now and then how far they are, hands on frames."""

    def __init__(self, tell: Callable[[Seen], None], frames: Frames | None = None) -> None:
        self.tell, self.frames = tell, frames
        self.walked = 0  # steps of chains
        self._told = 0.0

    def __call__(self, step: int, steps: int, state: State, info: Info) -> None:
        """Another step."""
        self.walked += len(state.code)
        if self.frames is not None:
            self.frames.add(step, steps, state)
        now = time.monotonic()
        if now - self._told > LOOK or step == steps:
            self._told = now
            self.tell(Seen(step, steps, state.evaluation.log_condition.detach().tolist()))


class Frames:
    """What an animation shows of every batch, moment by moment: signals (B, ...) as stored, and log p (B,)."""

    def __init__(self, every: int, store: Callable[[Tensor], Tensor]) -> None:
        self.every, self.store = every, store
        self.batches: list[list[tuple[Tensor, Tensor, float]]] = []  # and the share of the steps before

    def add(self, step: int, steps: int, state: State) -> None:
        """Keep the state if it is a frame."""
        if step == 1:
            self.batches.append([])
        if step % self.every == 0 or step == steps:
            signals, log_p = self.store(state.evaluation.image).cpu(), state.evaluation.log_condition.detach().cpu()
            self.batches[-1].append((signals, log_p, (step - 1) / steps))


class Watch(ExitStack):
    """A bar on stderr that follows the steps of all batches, if it is `shown`.

    `targets` are what the chains walk through, by name. The bar appears with the first step, so that an error before it
    stays a single line; it tells how much of the samples is done, and how probable the condition finds the target now.
    """

    def __init__(self, name: str, targets: Sequence[str], shown: bool) -> None:
        super().__init__()
        self.name, self.targets, self.shown = name, targets, shown
        self.total = self.done = 0  # samples
        self._walked: dict[Hashable, Seen] = {}
        self._bar: tqdm[NoReturn] | None = None

    def tell(self, batch: Hashable, seen: Seen) -> None:
        """How far a batch is."""
        self._walked[batch] = seen
        if not self.shown:
            return
        if self._bar is None:
            hush()
            often = 0.1 if sys.stderr.isatty() else 2.0
            bar: Any = tqdm(desc=self.name, total=self.total, bar_format=FORMAT, mininterval=often)
            self._bar = self.enter_context(bar)
        log_p = [value for one in self._walked.values() for value in one.log_prob]
        target = self.targets[(seen.step - 1) * len(self.targets) // seen.steps]
        self._bar.set_postfix_str(_seen(target, log_p), refresh=False)
        self._move()
        if seen.step == seen.steps:
            self._bar.refresh()

    def _move(self) -> None:
        if self._bar is not None:
            walked = sum(len(one.log_prob) * one.step / one.steps for one in self._walked.values())
            self._bar.update(self.done + walked - self._bar.n)

    def end(self, batch: Hashable, done: int) -> Seen | None:
        """A batch is over, with so many samples; without any it will be walked again -> what was told of it last."""
        self.done += done
        seen = self._walked.pop(batch, None)
        self._move()
        return seen


def _seen(target: str, log_p: Sequence[float]) -> str:
    """How much of a target is seen, by the log p of the chains: in per cent where these are probabilities."""
    name = target if len(target) <= WIDTH else f"{target[: WIDTH - 1]}…"
    known = [value for value in log_p if not math.isnan(value)] or [math.nan]
    if any(value > 1e-3 for value in known):
        return f"{name}: {sum(known) / len(known):.3g}"
    return f"{name} seen: {100 * sum(map(math.exp, known)) / len(known):.0f}%"
