"""Bad input of any evaluation is one line at the start, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.task import Task, name_of
from ppgn.model import PPGN
from tests.tiny import LinearGenerator, TinyGenerator, weights

GIVEN = {"model": "natural64", "data": "photos", "batch_size": 2, "device": "cpu", "out": None}


def test_what_is_given_is_checked_and_read(photos: np.ndarray) -> None:
    task = Task.of("samples", GIVEN | {"seeds": "0-2,7", "n": 4})
    assert task.seeds == (0, 1, 2, 7)
    assert len(task.photographs) == 20
    assert task.table.about == {
        "what": "samples",
        "model": "natural64",
        "data": "photos",
        "device": "cpu",
        "settings": {"seeds": "0-2,7", "n": 4},
    }


BAD: list[tuple[dict[str, Any], str]] = [
    ({"data": None}, "data=FOLDER"),
    ({"data": "nowhere"}, "nowhere"),
    ({"n": 1}, "n=1"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"steps": 0}, "steps=0"),
    ({"classes": []}, "classes"),
    ({"classes": [1, 1]}, "classes"),
    ({"classes": "goldfish"}, "classes"),
    ({"classes": [1], "seeds": "0"}, "single sample"),
    ({"device": "abacus"}, "abacus"),
]


@pytest.mark.parametrize(("given", "word"), BAD)
def test_what_cannot_be_is_refused(photos: np.ndarray, given: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Task.of("samples", GIVEN | {"seeds": "0-1"} | given)


def test_only_pictures_can_be_judged(photos: np.ndarray) -> None:
    wave = PPGN(LinearGenerator(weights(0, 12, 5), (12,)))
    with pytest.raises(InputError, match=r"signals of the shape \(12,\)"):
        Task.of("samples", GIVEN | {"model": wave}).model()
    drawer = PPGN(TinyGenerator(), card={"name": "drawer"})
    assert Task.of("samples", GIVEN | {"model": drawer}).model() is drawer
    assert name_of(drawer) == "drawer"


CALLS: list[Callable[[], Any]] = [
    lambda: evaluation.samples("tiny", [0], "photos", systems=["deflaut"]),
    lambda: evaluation.samples("nature64", [0], "photos"),
    lambda: evaluation.variants("tiny", [0, 1], "photos", experiment=["ppgn_z"]),
    lambda: evaluation.variants("tiny", [0, 1], "photos", experiment=["natural64_cpu"]),
    lambda: evaluation.captions("natural64", "photos"),
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_cannot_be_write_nothing(photos: np.ndarray, call: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        call()
    assert [path.name for path in Path().iterdir()] == ["photos"]
