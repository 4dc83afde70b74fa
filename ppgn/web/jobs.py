"""Work that pages ask for: a job at a time on each device, in order; it tells what it does and ends at any step."""

from __future__ import annotations

import secrets
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ppgn.errors import InputError

WAITING = 16  # jobs that may wait
KEPT = 64  # finished jobs whose events can still be read
GRACE = 5.0  # seconds without anybody who watches, after which a job ends: as long as a page may take to be reloaded

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
OVER = (DONE, FAILED, CANCELLED)


class Cancelled(KeyboardInterrupt):
    """Raised inside a job that is to end; what a run has finished is kept, as at an interruption by keyboard."""


class Job:
    """Something to do, `work(job)`, and what has come of it: `state`, and `events`, mappings that JSON can say.

    `since` gives the events from a number on; the pictures of the last "frame" alone are kept.
    """

    def __init__(self, work: Callable[[Job], Any]) -> None:
        self.id, self.work, self.state = secrets.token_urlsafe(12), work, QUEUED
        self.events: list[dict[str, Any]] = []
        self.device: Any = None  # on which it runs
        self.watchers, self._left = 0, time.monotonic()
        self._cancelled = threading.Event()
        self._frames: dict[Any, dict[str, Any]] = {}  # of every batch of seeds the last

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER

    def tell(self, kind: str, **said: Any) -> None:
        """Add an event."""
        event = {"kind": kind, **said}
        if kind == "frame":
            batch = tuple(event["seeds"])
            self._frames.get(batch, {}).pop("pictures", None)
            self._frames[batch] = event
        self.events.append(event)

    def since(self, number: int) -> list[dict[str, Any]]:
        """The events from `number` on."""
        return [dict(event) for event in self.events[number:]]

    def cancel(self) -> None:
        """End it at its next step, or at once where it waits."""
        self._cancelled.set()
        if self.state == QUEUED:
            self.end(CANCELLED)

    def check(self) -> None:
        """Raise `Cancelled` where it is to end."""
        if self._cancelled.is_set():
            raise Cancelled

    def end(self, state: str, **said: Any) -> None:
        """Take the last state."""
        self.state = state
        self.tell("state", state=state, **said)

    def watched(self, by: int) -> None:
        """One more who watches (1), or one less (-1)."""
        self.watchers += by
        self._left = time.monotonic()

    def abandoned(self) -> bool:
        """Whether nobody has watched for `GRACE` seconds."""
        return not self.over and self.watchers == 0 and time.monotonic() - self._left > GRACE


class Queue:
    """Jobs in the order in which they came, one at a time on each of the devices."""

    def __init__(self, devices: Sequence[Any]) -> None:
        self.devices = list(devices)
        self.jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self.devices]
        for thread in [*self._threads, threading.Thread(target=self._sweep, daemon=True)]:
            thread.start()

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Put work at the end of the queue. Raises `InputError` where too much waits."""
        with self._changed:
            waiting = [job for job in self._waiting if not job.over]
            if len(waiting) >= WAITING:
                raise InputError(f"{len(waiting)} jobs are waiting already; try again when some are done")
            job = Job(work)
            self.jobs[job.id] = job
            finished = [id for id, one in self.jobs.items() if one.over]
            for id in finished[: max(0, len(finished) - KEPT)]:
                del self.jobs[id]
            self._waiting.append(job)
            self._tell_places()
            self._changed.notify()
        return job

    def close(self, seconds: float = 10.0) -> None:
        """Cancel everything and wait for the threads."""
        with self._changed:
            self._closed = True
            for job in self.jobs.values():
                job.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(seconds)

    def _tell_places(self) -> None:
        """Tell every job that waits how many are before it, among them those that run."""
        running = sum(job.state == RUNNING for job in self.jobs.values())
        for place, job in enumerate(job for job in self._waiting if not job.over):
            job.tell("state", state=QUEUED, ahead=max(0, running + place - len(self.devices) + 1))

    def _serve(self, device: Any) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                if job.over:
                    continue
                job.state, job.device = RUNNING, device
                job.tell("state", state=RUNNING)
                self._tell_places()
            self._do(job)
            with self._changed:
                self._tell_places()

    def _do(self, job: Job) -> None:
        try:
            job.check()
            job.end(DONE, result=job.work(job))
        except Cancelled as error:
            job.end(CANCELLED, text=str(error))
        except KeyboardInterrupt as error:  # how a run says what of it is finished
            job.end(CANCELLED, text=str(error))
        except InputError as error:
            job.end(FAILED, text=" ".join(str(error).split()))
        except MemoryError as error:
            job.end(FAILED, text=f"too little memory ({error}); ask for less at a time")
        except Exception as error:
            traceback.print_exc()
            job.end(FAILED, text=f"{type(error).__name__}; the terminal where ppgn serve runs says where")

    def _sweep(self) -> None:
        """End jobs that nobody watches any more."""
        while not self._closed:
            for job in list(self.jobs.values()):
                if job.abandoned():
                    job.cancel()
            time.sleep(0.5)
