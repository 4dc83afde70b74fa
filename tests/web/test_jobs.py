"""One job at a time on each device, in order; an end at any step, and when nobody looks any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ppgn.errors import InputError
from ppgn.web import jobs
from ppgn.web.jobs import Job, Queue


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue(["cpu"])
    yield made
    made.close()


def until(happened: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def steps(job: Job) -> None:
    """Work of many small steps."""
    for _ in range(10_000):
        job.check()
        time.sleep(0.001)


def test_a_result_comes_after_what_was_told(queue: Queue) -> None:
    job = queue.submit(lambda job: job.tell("said", text=str(job.device)) or {"text": "fine"})
    until(lambda: job.over)
    assert [event["kind"] for event in job.since(0)] == ["state", "state", "said", "state"]
    assert job.since(2) == [
        {"kind": "said", "text": "cpu"},
        {"kind": "state", "state": "done", "result": {"text": "fine"}},
    ]


def test_jobs_wait_for_each_other_and_are_told_how_many_are_before_them(queue: Queue) -> None:
    running: list[int] = []
    most: list[int] = []
    go = threading.Event()

    def alone(job: Job) -> None:
        running.append(1)
        most.append(len(running))
        go.wait(5)
        running.pop()

    first, second, third = (queue.submit(alone) for _ in range(3))
    until(lambda: first.state == jobs.RUNNING)
    assert [one.since(0)[-1].get("ahead") for one in (second, third)] == [1, 2]
    second.cancel()
    go.set()
    until(lambda: third.over)
    assert (first.state, second.state, third.state, max(most), len(most)) == ("done", "cancelled", "done", 1, 2)


def test_two_devices_work_at_once() -> None:
    both, two = threading.Barrier(2, timeout=5), Queue(["a", "b"])
    every = [two.submit(lambda job: both.wait() and job.device) for _ in range(2)]
    until(lambda: all(job.over for job in every))
    assert {job.device for job in every} == {"a", "b"}
    assert {job.state for job in every} == {"done"}
    two.close()


def test_a_cancelled_job_ends_at_its_next_step_and_the_next_one_runs(queue: Queue) -> None:
    job, after = queue.submit(steps), queue.submit(lambda job: "after")
    until(lambda: job.state == jobs.RUNNING)
    job.cancel()
    until(lambda: after.over, 1)
    assert (job.state, after.state) == ("cancelled", "done")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("no such\nclass"), "no such class"),
        (MemoryError("8 GB"), "too little memory (8 GB); ask for less at a time"),
        (ZeroDivisionError("secret"), "ZeroDivisionError; the terminal where ppgn serve runs says where"),
    ],
)
def test_what_goes_wrong_is_one_line(queue: Queue, error: Exception, said: str) -> None:
    def work(job: Job) -> Any:
        raise error

    job = queue.submit(work)
    until(lambda: job.over)
    assert job.since(0)[-1] == {"kind": "state", "state": "failed", "text": said}


def test_a_job_ends_when_nobody_has_watched_for_a_while(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE", 0.2)
    seen, left = queue.submit(steps), queue.submit(lambda job: None)
    seen.watched(1)
    until(lambda: left.over)
    assert (seen.state, left.state) == ("running", "cancelled")
    seen.watched(-1)
    until(lambda: seen.over, 2)
    assert seen.state == "cancelled"


def test_only_the_last_pictures_of_each_batch_are_kept() -> None:
    job = Job(lambda job: None)
    for step in range(3):
        for seeds in ([0, 1], [2]):
            job.tell("frame", seeds=seeds, step=step, pictures=["data:"], log_p=[0.0])
    kept = [(event["step"], event["seeds"]) for event in job.since(0) if "pictures" in event]
    assert kept == [(2, [0, 1]), (2, [2])]
    assert len(job.since(0)) == 6


def test_too_much_that_waits_is_refused_and_what_is_long_done_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAITING", 2)
    monkeypatch.setattr(jobs, "KEPT", 1)
    go, queue = threading.Event(), Queue(["cpu"])
    first = queue.submit(lambda job: go.wait(5))
    until(lambda: first.state == jobs.RUNNING)
    rest = [queue.submit(lambda job: None) for _ in range(2)]
    with pytest.raises(InputError, match="2 jobs are waiting already"):
        queue.submit(lambda job: None)
    go.set()
    until(lambda: all(job.over for job in rest))
    queue.submit(lambda job: None)
    assert first.id not in queue.jobs
    assert len(queue.jobs) == 2
    queue.close()
