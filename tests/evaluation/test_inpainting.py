"""Holes filled by chains and by classical means, all judged alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.inpainting import chains, settings
from ppgn.evaluation.task import Task
from ppgn.inpainting.settings import UNASKED
from ppgn.metrics import accuracy, fidelity
from ppgn.model import PPGN
from tests.evaluation.conftest import Grey, Settings, store

WAYS = ["context", "class", "class_pixels", "class_alone", "released"]


@pytest.fixture(autouse=True)
def _libraries() -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")


@pytest.fixture
def labelled(photos: np.ndarray) -> torch.Tensor:
    """The photographs (20, 3, 16, 16), of the classes 1 and 3 in turn."""
    classes = [{"imagenet_index": 1}, {"imagenet_index": 3}]
    store(Path("photos/set"), photos, labels=np.arange(20) % 2, classes=classes)
    return torch.from_numpy(photos).permute(0, 3, 1, 2)


def test_every_way_has_its_row(model: PPGN, labelled: torch.Tensor, classifier: Settings) -> None:
    given = {"condition": classifier, "n": 3, "steps": 1, "batch_size": 3, "device": "cpu"}
    table = evaluation.inpainting(model, "photos", out="out", **given)
    ways = ["mean_colour", "harmonic", "biharmonic", "telea", "navier_stokes", *WAYS]
    assert list(table.rows) == ["original", *(f"{hole} {way}" for hole in ("center", "random") for way in ways)]
    value = {(row, name): figure.value for row, all in table.rows.items() for name, figure in all.items() if figure}

    originals, classes = labelled[[0, 6, 13]], [1, 1, 3]
    hole = torch.zeros(16, 16, dtype=torch.bool)
    hole[4:12, 4:12] = True
    colours = originals[:, :, ~hole].float().mean(dim=2).round()
    error = (colours[:, :, None] - originals[:, :, hole]).square().mean(dim=(1, 2)) / 255**2
    assert value["center mean_colour", "psnr"] == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-4)
    hits = accuracy.top_k(accuracy.Judge()(originals), classes, 5).double().mean().item()
    assert value["original", "top5"] == hits
    assert all(0 <= value[name, "distance"] < 1 for name in table.rows if name != "original")
    others = labelled[[row for row in np.linspace(0, 19, 18).astype(int) if row not in (0, 6, 13)]]
    features = fidelity.Features()
    assert value["original", "kid"] == pytest.approx(
        fidelity.kid(features(originals), features(others)).value, rel=1e-4
    )

    grid = torch.from_numpy(np.array(Image.open("out/grid_center.png"))).permute(2, 0, 1)
    assert grid.shape == (3, 3 * 18 + 2, 12 * 18 + 2)
    for column in range(1, 12):
        tile = grid[:, 2:18, 2 + 18 * column : 18 + 18 * column]
        assert torch.equal(tile[:, ~hole], originals[0][:, ~hole])
        assert not torch.equal(tile, originals[0])


def test_without_classes_there_is_no_accuracy(model: PPGN, photos: np.ndarray) -> None:
    table = evaluation.inpainting(model, "photos", n=2, steps=1, device="cpu", holes=["center"])
    assert list(table.rows)[-1] == "center context"
    assert all(row["top1"] is None for row in table.rows.values())


def test_holes_and_ways_are_chosen_by_name(model: PPGN, photos: np.ndarray) -> None:
    few: dict[str, Any] = {"n": 2, "steps": 1, "device": "cpu"}
    table = evaluation.inpainting(model, "photos", **few, holes=["rows:3-6"], systems=["harmonic", "context"])
    assert list(table.rows) == ["original", "rows:3-6 harmonic", "rows:3-6 context"]
    assert table.about["settings"]["holes"] == ["rows:3-6"]
    with pytest.raises(InputError, match="unknown system 'contex'; nearest: context"):
        evaluation.inpainting(model, "photos", **few, systems=["contex"])
    with pytest.raises(InputError, match=r"holes=\[center\]: expected one name or more, each once"):
        evaluation.inpainting(model, "photos", **few, holes="center")


def test_chains_alone_need_no_classical_library(
    model: PPGN, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    few: dict[str, Any] = {"n": 2, "steps": 1, "device": "cpu"}
    table = evaluation.inpainting(model, "photos", **few, holes=["center"], systems=["context"])
    assert list(table.rows) == ["original", "center context"]
    with pytest.raises(InputError, match="needs cv2"):
        evaluation.inpainting(model, "photos", **few, holes=["center"], systems=["harmonic"])
    with pytest.raises(InputError, match="middle"):
        evaluation.inpainting(model, "photos", **few, holes=["middle"])


def test_ways_follow_what_is_given(model: PPGN) -> None:
    def ways(sampler: object = "annealed", **context: float) -> dict[str, Any]:
        task = Task(sampler=sampler, data="photos")
        given = [settings(task, asked, context) for asked in (False, True)]
        return {name: cast(partial[Any], way).args for name, way in chains(task, model, [Grey(0)], *given).items()}

    assert list(ways()) == WAYS
    assert [ways()[name][3].sampler.epsilon2 for name in ("context", "class")] == [UNASKED, 2.5]
    mapping = {"_target_": "ppgn.samplers.annealed.Annealed", "epsilon2": 1.5}
    changed = ways(mapping, epsilon2=0.1, weight=3.0)
    assert [changed[name][3].sampler.epsilon2 for name in ("context", "class")] == [0.1, 1.5]
    assert [changed[name][3].weight for name in ("class", "class_alone")] == [3.0, 1e-12]
    assert "class_pixels" not in ways(imputations=0)
    assert "class_pixels" not in ways("ppgn")
    assert list(ways("anchored")) == ["context", "class", "released"]
    assert ways()["released"][4] == "joint"


def test_the_command_line_gives_the_same(
    check_same: Callable[..., None], tiny: Path, labelled: torch.Tensor, classifier: Settings
) -> None:
    typed = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16"]
    typed += ["data=photos", "n=2", "steps=1", "sampler=ppgn", "sampler.epsilon2=0.2", "context.weight=3"]
    sampler = {"_target_": "ppgn.samplers.langevin.Langevin", "epsilon2": 0.2}
    given = {"data": "photos", "n": 2, "steps": 1, "sampler": sampler, "context": {"weight": 3}}
    check_same(evaluation.inpainting, typed, condition=classifier, **given)
