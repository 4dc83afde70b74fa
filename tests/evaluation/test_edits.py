"""Photographs edited towards a class near their own, by chains and by simpler means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.metrics import accuracy
from ppgn.model import PPGN
from tests.evaluation.conftest import store

CLASSES = {"goldfish": "lion", "pizza": "banana"}
INDEX = {"goldfish": 1, "pizza": 963, "lion": 291, "banana": 954}


@pytest.fixture
def labelled(photos: np.ndarray) -> torch.Tensor:
    """The photographs (20, 3, 16, 16), two goldfish and two pizzas in turn."""
    classes = [{"imagenet_index": INDEX["goldfish"]}, {"imagenet_index": INDEX["pizza"]}]
    store(Path("photos/set"), photos, labels=np.arange(20) // 2 % 2, classes=classes)
    return torch.from_numpy(photos).permute(0, 3, 1, 2)


def test_every_way_has_its_row(model: PPGN, labelled: torch.Tensor) -> None:
    given = {"pairs": CLASSES, "n": 3, "steps": 2, "device": "cpu", "condition": "imagenet"}
    table = evaluation.edits(model, "photos", out="out", **given)
    assert list(table.rows) == ["photos", "edit", "pixels", "strength"]
    value = {(row, name): figure.value for row, all in table.rows.items() for name, figure in all.items() if figure}
    assert value["edit", "p"] != value["photos", "p"]
    assert value["pixels", "psnr"] > value["edit", "psnr"] > value["strength", "psnr"]
    assert value["pixels", "distance"] < value["strength", "distance"]
    assert table.rows["photos"]["psnr"] is None

    apart = set(np.linspace(0, 19, 10).astype(int))  # the others
    fish, pizza = ([row for row in range(20) if row // 2 % 2 == kind and row not in apart] for kind in (0, 1))
    chosen = labelled[[fish[0], pizza[0], fish[-1]]]
    logits = accuracy.Judge()(chosen).double()
    asked = [INDEX["lion"], INDEX["banana"], INDEX["lion"]]
    assert value["photos", "judge_p"] == pytest.approx(logits.softmax(1)[range(3), asked].mean().item(), rel=1e-4)
    assert value["photos", "top5"] == accuracy.top_k(logits, asked, 5).double().mean().item()
    assert Path("out/grid.png").exists()


def test_classes_of_which_there_are_too_few_photographs_are_refused(model: PPGN, labelled: torch.Tensor) -> None:
    with pytest.raises(InputError, match="lion"):
        evaluation.edits(model, "photos", pairs={"lion": "goldfish"}, n=2, device="cpu")
