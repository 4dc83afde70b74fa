"""Batches are walked by threads that share nothing, and give what one thread gives."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ppgn
from ppgn import anchors, progress, sampling
from ppgn.engines.contract import Batch, Here
from ppgn.engines.threads import Threads, dealt, side_by_side
from ppgn.errors import InputError
from ppgn.progress import Seen
from ppgn.samplers.chains import run_chains
from tests.test_sampling import Bright, model

GIVEN = {"cluster": None, "workers": None, "device": "cpu", "devices": 1, "model": "natural64", "compile": False}
GIVEN |= {"seeds": "0-7", "shard": None, "batch_size": "auto", "animate": None, "best": None, "rank": "judge"}
GIVEN |= {"target": "junco", "condition": "imagenet"}


def drained(engine: Threads) -> list[Any]:
    found: list[Any] = []
    while engine.at_work:
        found += engine.wait()
    return found


def test_batches_are_walked_at_once_by_one_thread_each() -> None:
    told: list[Any] = []
    meeting = threading.Barrier(2, timeout=20)
    before = torch.get_num_threads()

    def walk(batch: Batch, tell: Any) -> Any:
        tell(Seen(1, 1, [0.0]))
        meeting.wait()
        return torch.get_num_threads() / batch.seeds[0]

    torch.set_num_threads(2)
    with Threads(2) as engine:
        engine.hire(lambda device: walk if device == "cpu" else None, lambda batch, seen: told.append((batch, seen)))  # type: ignore[arg-type, return-value]
        for seed in (2, 0):
            engine.start(Batch((seed,)))
        assert (engine.free, engine.at_work) == (0, 2)
        found = dict(drained(engine))
        assert (engine.free, engine.at_work) == (2, 0)
    assert found[Batch((2,))] == 0.5
    assert isinstance(found[Batch((0,))], ZeroDivisionError)
    assert sorted(batch.seeds for batch, _ in told) == [(0,), (2,)]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_threads_soon_take_turns_at_python_and_leave_its_setting_alone() -> None:
    before = sys.getswitchinterval()
    with Threads(2):
        assert sys.getswitchinterval() < before / 10
    assert sys.getswitchinterval() == before


def test_who_is_left_at_the_end_ends() -> None:
    steps: list[int] = []

    def walk(batch: Batch, tell: Any) -> Any:
        for step in range(10**6):
            steps.append(step)
            tell(Seen(step, 10**6, [0.0]))
            time.sleep(0.01)

    def interrupted() -> None:
        with Threads(2) as engine:
            engine.hire(lambda _: walk, lambda *_: None)
            engine.start(Batch((0,)))
            engine.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    count = len(steps)
    time.sleep(0.05)
    assert len(steps) == count


def test_what_cannot_be_copied_is_walked_by_one() -> None:
    made = iter([lambda batch, tell: "part"])

    def make(device: str) -> Any:
        if (walk := next(made, None)) is None:
            raise TypeError("cannot pickle a lock")
        return walk

    with Threads(3) as engine:
        engine.hire(make, lambda *_: None)
        assert (engine.size, engine.free) == (1, 1)
        engine.start(Batch((1,)))
        assert drained(engine) == [(Batch((1,)), "part")]
    with Threads(3) as engine, pytest.raises(TypeError):
        engine.hire(make, lambda *_: None)


@pytest.mark.parametrize(
    ("more", "size", "threads"),
    [
        ({}, 3, 1),
        ({"seeds": "0-1"}, 2, 1),
        ({"seeds": 3}, 1, 1),
        ({"batch_size": 8}, 1, 1),
        ({"shard": "1/8"}, 1, 1),
        ({"animate": "a.webp"}, 1, 1),
        ({"best": 4, "rank": "realism"}, 1, 1),
        ({"target": None, "condition": lambda x: x.mean((1, 2, 3))}, 1, 1),
        ({"model": "mine.safetensors"}, 1, None),
        ({"compile": True}, 1, None),
    ],
    ids=str,
)
def test_a_model_that_comes_along_has_a_thread_a_batch(
    more: dict[str, Any], size: int, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine = sampling._engine(GIVEN | more)
    assert isinstance(engine, Here)
    assert (engine.size, engine.threads) == (size, threads)
    assert isinstance(engine, Threads) == (size > 1)


def test_who_follows_hears_of_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Follower(progress.Follower):
        """Any."""

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with progress.followed(Follower()):
        assert sampling._engine(GIVEN).size == 1


@pytest.mark.parametrize("sampler", ["annealed", "ppgn"])
def test_samples_are_those_of_one_thread(tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[str, Any] = {"model": model(), "seeds": range(7), "steps": 40, "prior": "gaussian", "sampler": sampler}
    whole = ppgn.sample(Bright(0.5), **words)
    monkeypatch.setattr(progress, "LOOK", 0.01)
    monkeypatch.setattr(sampling, "_engine", lambda given: Threads(3))
    found = ppgn.sample(Bright(0.5), **words, batch_size=2, out=tmp_path / "o")
    assert sorted(found.seeds) == sorted(whole.seeds)
    assert len(ppgn.open_samples(tmp_path / "o")) == 7
    order = [found.seeds.index(seed) for seed in whole.seeds]
    assert torch.equal(found.codes[order], whole.codes)
    assert torch.equal(found.images[order], whole.images)


def test_networks_of_threads_are_copies_and_anchors_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[Any] = []
    found: list[Any] = []
    original = anchors.find

    def find(*given: Any) -> Any:
        found.append(original(*given))
        return found[-1]

    monkeypatch.setattr(anchors, "find", find)
    monkeypatch.setattr(sampling, "_engine", lambda given: Threads(2))
    monkeypatch.setattr(sampling, "_walk", lambda plan, engine: walks.extend(map(sampling._maker(plan, engine), "ab")))
    monkeypatch.setattr(sampling, "_finish", lambda plan: None)
    ppgn.sample("junco", seeds="0-1", steps=1)
    parts = [{id(p) for t in walk.walk.args[0] for p in t.condition.parameters()} for walk in walks]
    assert parts[0]
    assert not parts[0] & parts[1]
    assert not {id(p) for c in walks[0].run.conditions for p in c.parameters()} & parts[1]
    of_prior = [walk.walk.args[0][0].prior for walk in walks]
    assert of_prior[0] is not of_prior[1]
    own = walks[1].run.conditions[0].network
    assert own is walks[1].walk.args[0][0].condition.network
    assert own is not walks[0].run.conditions[0].network
    assert len(found) == 1
    for walk in walks:
        assert torch.equal(walk.walk.args[0][0].anchors()[0], found[0][0])
    assert len(found) == 1


def test_processes_of_a_model_that_comes_along_have_a_thread_each() -> None:
    given = GIVEN | {"devices": 2, "oversubscribe": True}
    assert sampling._engine(given).threads == 1  # type: ignore[attr-defined]
    assert sampling._engine(given | {"model": "mine"}).threads >= 1  # type: ignore[attr-defined]


class Net(nn.Linear):
    """What threads hold."""


def test_side_by_side_each_has_its_own_and_answers_come_in_order() -> None:
    meeting, told, before = threading.Barrier(2, timeout=20), [], torch.get_num_threads()
    net, patience = Net(1, 1), sys.getswitchinterval()

    def work(held: Net, item: int, tell: Any) -> tuple[int, int, int]:
        meeting.wait()
        tell(item)
        return item, id(held), torch.get_num_threads()

    with side_by_side(net, 2, told.append) as each:
        assert sys.getswitchinterval() < patience / 10
        found = each(work, range(6))
    assert [item for item, *_ in found] == list(range(6))
    assert len({who for _, who, _ in found}) == 2
    assert id(net) in {who for _, who, _ in found}
    assert {threads for *_, threads in found} == {1}
    assert sorted(told) == list(range(6))
    assert (torch.get_num_threads(), sys.getswitchinterval()) == (before, patience)


@pytest.mark.parametrize(("size", "threads"), [(1, 1), (None, 2)])
def test_one_at_a_time_is_walked_here(size: int | None, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with side_by_side("held", size, print) as each:
        found = each(lambda held, item, tell: (held, item, torch.get_num_threads(), threading.current_thread()), "ab")
    torch.set_num_threads(before)
    assert found == [("held", item, threads, threading.main_thread()) for item in "ab"]


def test_side_by_side_what_cannot_be_copied_is_held_by_one() -> None:
    with side_by_side(threading.Lock(), 3, print) as each:
        assert each(lambda held, item, tell: threading.current_thread(), "ab") == [threading.main_thread()] * 2


def test_side_by_side_an_error_ends_the_others() -> None:
    steps: list[int] = []

    def work(held: list[int], item: int, tell: Any) -> None:
        for step in range(10**6):
            if item == 0 and len(steps) > 5:
                raise InputError("enough")
            tell(step)
            time.sleep(0.001)

    with pytest.raises(InputError, match="enough"), side_by_side([], 2, steps.append) as each:
        each(work, range(2))
    assert 5 < len(steps) < 1000


@pytest.mark.parametrize(
    ("count", "size", "threads", "batches"),
    [
        (4, 8, 2, [2, 2]),
        (5, 8, 2, [3, 2]),
        (8, 2, 2, [2, 2, 2, 2]),
        (3, 8, 1, [3]),
        (3, 2, None, [2, 1]),
        (1, 8, 1, [1]),
    ],
)
def test_every_thread_is_dealt_a_batch(count: int, size: int, threads: int | None, batches: list[int]) -> None:
    dealt_out = dealt(range(count), size, threads)
    assert [len(batch) for batch in dealt_out] == batches
    assert [seed for batch in dealt_out for seed in batch] == list(range(count))


@pytest.mark.parametrize(("verb", "room"), [("inpaint", "inpainting.completion"), ("edit", "editing.walk")])
def test_photos_are_changed_as_one_thread_changes_them(verb: str, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = torch.rand(3, 80, 64, generator=torch.Generator().manual_seed(0))
    walked: list[tuple[int, bool]] = []

    def run(targets: Any, sampler: Any, noise: Any, **options: Any) -> Any:
        walked.append((len(noise.seeds), threading.current_thread() is threading.main_thread()))
        return run_chains(targets, sampler, noise, **options)

    monkeypatch.setattr(f"ppgn.{room}.run_chains", run)
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(getattr(ppgn, verb)(photo, target="volcano", seeds="0-2", steps=2))
    torch.set_num_threads(before)
    assert walked == [(3, True), (1, False), (1, False), (1, False)]
    one, three = found
    assert torch.equal(one.codes, three.codes)
    assert all(torch.equal(a, b) for a, b in zip(one.images, three.images, strict=True))
