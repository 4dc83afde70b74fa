"""What a person sees while waiting."""

from __future__ import annotations

import io
import math
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import ppgn
from ppgn import progress
from ppgn.progress import Frames, Seen, Steps, Watch
from tests.outside.mine import Red


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def state(*p: float) -> Any:
    evaluation = SimpleNamespace(image=torch.zeros(len(p), 3, 2, 2), log_condition=torch.tensor(p).log())
    return SimpleNamespace(code=torch.zeros(len(p), 1), evaluation=evaluation)


def test_what_is_said_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    progress.say("loading")
    progress.hush()
    progress.hush()
    assert "loading" in terminal.getvalue()
    assert terminal.getvalue().count("\033[K") == 2
    assert terminal.getvalue().endswith("\r\033[K")


def test_a_log_file_is_told_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    progress.say("loading")
    progress.hush()
    assert file.getvalue() == ""


def log(*p: float) -> list[float]:
    return [math.log(value) for value in p]


def test_the_bar_counts_samples_and_tells_how_much_of_the_target_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("imagenet", ["goldfish", "lion"], True) as watch:
        watch.total = 6
        watch.tell("a", Seen(1, 2, log(0.2, 0.2)))
        watch.tell("b", Seen(1, 2, log(0.5, 0.5, 0.5, 0.5)))
        watch.tell("a", Seen(2, 2, log(0.2, 0.2)))
        assert watch.end("a", 2) == Seen(2, 2, log(0.2, 0.2))
        watch.tell("b", Seen(2, 2, log(0.5, 0.5, 0.5, math.nan)))
    said = capsys.readouterr().err
    assert "4/6 samples, lion seen: 40%" in said
    assert "6/6 samples, lion seen: 50%" in said
    assert "left" in said


def test_what_is_lost_counts_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("imagenet", ["goldfish"], True) as watch:
        watch.total = 4
        watch.tell("a", Seen(2, 2, log(0.2, 0.2)))
        watch.end("a", 0)
        watch.tell("b", Seen(2, 2, log(0.5)))
    assert "1/4 samples" in capsys.readouterr().err


def test_a_score_that_is_no_probability_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("Red", ["x" * 50], True) as watch:
        watch.total = 1
        watch.tell("a", Seen(1, 1, [3.0]))
    assert f"{'x' * 29}…: 3, " in capsys.readouterr().err


def test_nothing_is_shown_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    Watch("imagenet", ["goldfish"], False).tell("a", Seen(1, 1, [3.0]))
    assert capsys.readouterr().err == ""


def test_steps_are_counted_and_told_and_frames_are_kept() -> None:
    told: list[Seen] = []
    frames = Frames(2, lambda x: x + 1)
    for _ in range(2):
        steps = Steps(told.append, frames)
        for step in (1, 2, 3):
            steps(step, 3, state(0.5, 0.5), cast(Any, None))
        assert steps.walked == 6
    assert [(seen.step, seen.steps) for seen in told] == [(1, 3), (3, 3)] * 2
    assert [(signals.mean(), round(3 * walked)) for signals, _, walked in frames.batches[1]] == [(1, 1), (1, 2)]


class Heard(progress.Follower):
    """Notes what it hears; ends the work where `end` says so."""

    def __init__(self, end: int = 99) -> None:
        self.steps: list[Any] = []
        self.texts: list[str] = []
        self.moves: list[Any] = []
        self.runs: list[Any] = []
        self.end = end

    def said(self, text: str) -> None:
        self.texts.append(text)

    def begun(self, run: Any) -> None:
        self.runs.append(run)

    def step(self, step: int, steps: int, state: Any, seeds: Any) -> None:
        self.steps.append((step, steps, tuple(seeds), len(state.code)))
        if len(self.steps) == self.end:
            raise KeyboardInterrupt

    def moved(self, what: str, done: float, total: float | None) -> None:
        self.moves.append((what, done, total))


def test_a_follower_hears_every_step_of_every_batch_and_changes_nothing(tiny: Any) -> None:
    given: dict[str, Any] = {"condition": Red(), "model": tiny / "model.safetensors", "steps": 2, "batch_size": 2}
    given |= {"sampler": "annealed", "seeds": "3-5", "device": "cpu"}
    with progress.followed(heard := Heard()):
        run = ppgn.sample(**given)
    assert heard.steps == [(1, 2, (3, 4), 2), (2, 2, (3, 4), 2), (1, 2, (5,), 1), (2, 2, (5,), 1)]
    assert heard.runs == [run]
    assert any("loading the model" in text for text in heard.texts)
    assert ppgn.sample(**given).codes.equal(run.codes)
    assert len(heard.steps) == 4  # nobody follows any more


def test_what_a_follower_raises_ends_the_run_at_that_step(tiny: Any) -> None:
    with progress.followed(heard := Heard(end=3)), pytest.raises(KeyboardInterrupt):
        ppgn.sample(condition=Red(), model=tiny / "model.safetensors", steps=9, sampler="annealed", device="cpu")
    assert len(heard.steps) == 3


@pytest.mark.parametrize("shown", [True, False])
def test_a_bar_tells_whether_it_is_shown_or_not(shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.followed(heard := Heard()):
        assert list(progress.Bar("abc", desc="letters", disable=not shown)) == ["a", "b", "c"]
        with progress.Bar(total=10, disable=not shown) as bar:
            bar.set_description("looks")
            bar.update(4)
    assert [move for move in heard.moves if move[0] == "letters"][:3] == [("letters", n, 3) for n in range(3)]
    assert heard.moves[-1] == ("looks", 4, 10)
    assert bool(capsys.readouterr().err) == shown
