"""Bad input of any evaluation is one line at the start, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.task import Task
from ppgn.model import PPGN
from ppgn.samplers.langevin import Langevin
from tests.tiny import LinearGenerator, TinyGenerator, weights


def task(**given: Any) -> Task:
    return Task(**{"data": "photos", "seeds": "0-1", "device": "cpu", **given})


def test_what_is_given_is_read_and_said(photos: np.ndarray) -> None:
    given = task(seeds="0-2,7", n=4, batch_size=2, sampler=Langevin(steps=7))
    assert given.seed_list == (0, 1, 2, 7)
    assert len(given.photographs) == 20
    about = given.begin("samples", classes=[1, "pizza"]).about
    assert [about[key] for key in ("what", "model", "data", "device")] == ["samples", "natural64", "photos", "cpu"]
    said = about["settings"]
    assert (said["seeds"], said["n"], said["classes"], said["sampler"]["steps"]) == ("0-2,7", 4, [1, "pizza"], 7)
    assert "batch_size" not in said  # it decides nothing


BAD: list[tuple[dict[str, Any], str]] = [
    ({"data": None}, "data=FOLDER"),
    ({"data": "nowhere"}, "nowhere"),
    ({"n": 1}, "n=1"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"reduce_to": 0}, "reduce_to=0"),
    ({"steps": 0}, "steps=0"),
    ({"seeds": "x"}, "seeds"),
    ({"device": "abacus"}, "abacus"),
]
LISTS: list[tuple[dict[str, Any], str]] = [
    ({"classes": []}, "classes"),
    ({"classes": [1, 1]}, "classes"),
    ({"classes": "goldfish"}, "classes"),
    ({"systems": []}, "systems"),
    ({"count": 1}, "count=1"),
]


@pytest.mark.parametrize(("given", "word"), BAD)
def test_what_cannot_be_is_refused(photos: np.ndarray, given: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        task(**given).begin("samples")


@pytest.mark.parametrize(("given", "word"), LISTS)
def test_lists_and_counts_that_cannot_be_are_refused(photos: np.ndarray, given: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        task().begin("samples", **given)


def test_a_single_sample_is_too_few(photos: np.ndarray) -> None:
    task(seeds="0-1").begin("samples", classes=[1])
    with pytest.raises(InputError, match="single sample"):
        task(seeds="0").begin("samples", classes=[1])


def test_only_pictures_can_be_judged() -> None:
    with pytest.raises(InputError, match=r"signals of the shape \(12,\)"):
        task(model=PPGN(LinearGenerator(weights(0, 12, 5), (12,)))).load()
    drawer = PPGN(TinyGenerator(), card={"name": "drawer"})
    assert task(model=drawer).load() is drawer
    assert task(model=drawer).called == "drawer"
    with pytest.raises(InputError, match="no encoder"):
        task(model=drawer).load(encoder=True)


class Dark(nn.Module):
    """Logits of dark and light."""

    labels = ("dark", "light")

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3))
        return torch.stack([1 - light, light], dim=1)


def test_a_judge_is_a_name_a_class_a_module_or_itself() -> None:
    for judge in (Dark(), "tests.evaluation.test_task:Dark", {"_target_": "tests.evaluation.test_task.Dark"}):
        made = task(batch_size=3).classifier(judge)
        assert (made.labels, made.batch_size) == (("dark", "light"), 3)
        assert task().classifier(made) is made
    with pytest.raises(InputError, match="efficientnet_lite9"):
        task().classifier("efficientnet_lite9")


CALLS: list[Callable[[], Any]] = [
    lambda: evaluation.samples("tiny", [0], "photos", systems=["deflaut"]),
    lambda: evaluation.samples("nature64", [0], "photos"),
    lambda: evaluation.variants("tiny", [0, 1], "photos", experiment=["ppgn_z"]),
    lambda: evaluation.variants("tiny", [0, 1], "photos", experiment=["natural64_cpu"]),
    lambda: evaluation.variants("tiny", [0, 1], "photos", sampler="ppgn"),
    lambda: evaluation.captions("natural64", "photos"),
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_cannot_be_write_nothing(photos: np.ndarray, call: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        call()
    assert [path.name for path in Path().iterdir()] == ["photos"]
