"""What a person sees while waiting."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ppgn import progress
from ppgn.progress import Watch


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


def test_the_bar_counts_samples_and_tells_how_much_of_the_target_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("imagenet", ["goldfish", "lion"], 0, True, lambda x: x) as watch:
        watch.begin(0, 6)
        for step in (1, 2):
            watch.step(step, 2, state(0.25, 0.75), cast(Any, None))
        watch.begin(2, 6)
        watch.step(1, 2, state(0.5, 0.5, 0.5, 0.5), cast(Any, None))
        watch.step(2, 2, state(0.5, 0.5, 0.5, 0.5), cast(Any, None))
    said = capsys.readouterr().err
    assert "2/6 samples, lion seen: 50%" in said
    assert "6/6 samples" in said
    assert "left" in said


def test_a_score_that_is_no_probability_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch("Red", ["x" * 50], 0, True, lambda x: x) as watch:
        watch.begin(0, 1)
        watch.step(1, 1, state(20.0), cast(Any, None))
    assert f"{'x' * 29}…: 3, " in capsys.readouterr().err


def test_nothing_is_shown_unasked_and_frames_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("imagenet", ["goldfish"], 2, False, lambda x: x + 1)
    watch.begin(0, 1)
    for step in (1, 2, 3):
        watch.step(step, 3, state(0.5), cast(Any, None))
    assert [signals.mean() for signals, _, _ in watch.batches[0]] == [1, 1]
    assert watch.walked == 3
    assert capsys.readouterr().err == ""
