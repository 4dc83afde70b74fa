"""Tiny networks and made-up photographs to measure them on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ppgn.model
from ppgn.conditions.base import Condition
from ppgn.model import PPGN

Settings = dict[str, Any]


class Grey(Condition):
    """log p of a grey level: −(mean − level)²."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return -(x.mean((1, 2, 3)) - self.level).square()


def grey(*levels: int, side: int = 16) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()


def store(folder: Path, pictures: Tensor | np.ndarray, split: str = "val", **beside: Any) -> None:
    """Write a set: uint8 (N, 3, S, S) or (N, S, S, 3), `labels`, `classes` and `captions`."""
    folder.mkdir(parents=True, exist_ok=True)
    array = pictures.permute(0, 2, 3, 1).numpy() if isinstance(pictures, Tensor) else pictures
    np.save(folder / f"{split}_images.npy", array)
    if "labels" in beside:
        np.save(folder / f"{split}_labels.npy", np.array(beside["labels"]))
        (folder / "classes.json").write_text(json.dumps(beside["classes"]))
    if "captions" in beside:
        lines = [json.dumps({"captions": row}) + "\n" for row in beside["captions"]]
        (folder / f"{split}_captions.jsonl").write_text("".join(lines))


def read(folder: Path | str = "out") -> Any:
    """What evaluation.json says."""
    return json.loads((Path(folder) / "evaluation.json").read_text())


@pytest.fixture
def model(tiny: Path) -> PPGN:
    return ppgn.model.load(tiny / "model.safetensors")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The folder `photos/set` below the current one holds 20 pictures of 16 px, uint8 (20, 16, 16, 3)."""
    monkeypatch.chdir(tmp_path)
    pictures = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    store(Path("photos/set"), pictures)
    return pictures


@pytest.fixture
def classifier(tiny: Path) -> Settings:
    """The condition of a classifier of four classes without names, as a mapping."""
    target = "ppgn.conditions.classifier.Classifier.from_torchscript"
    return {"_target_": target, "path": f"{tiny}/classifier.ts", "size": 16}


@pytest.fixture
def check_same(tiny: Path, photos: np.ndarray) -> Callable[..., None]:
    """Checks that a function of the library and `ppgn evaluate` give the same table, but for seconds, and pictures."""
    from ppgn.cli import main

    def check(function: Callable[..., Any], words: Sequence[str], **given: Any) -> None:
        common = {"model": f"{tiny}/model.safetensors", "batch_size": 2, "device": "cpu"}
        table = function(**common, out="library", **given)
        typed = [f"{key}={value}" for key, value in common.items()]
        assert main(["evaluate", f"what={function.__name__}", *typed, "out=typed", *words]) == 0
        library, command = read("library"), read("typed")
        assert list(library["rows"]) == list(command["rows"]) == list(table.rows)
        for name, row in library["rows"].items():
            assert {**row, "seconds": None} == {**command["rows"][name], "seconds": None}, name
        pictures = sorted(path.name for path in Path("library").glob("*.png"))
        assert pictures == sorted(path.name for path in Path("typed").glob("*.png"))
        for name in pictures:
            assert Path("library", name).read_bytes() == Path("typed", name).read_bytes()

    return check
