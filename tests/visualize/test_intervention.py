"""Units that draw a concept are found, and without them the concept is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgn
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.concepts import Concepts

SIDE = 8


class Painter(nn.Module):
    """Six units on a grid of 4x4: number 1 paints red, number 4 blue, the others nothing."""

    code_shape, signal_shape = (6, 4, 4), (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.paint, self.enlarge = nn.Identity(), nn.Upsample(scale_factor=4)
        self.flat = nn.Flatten()

    def forward(self, h: Tensor) -> Tensor:
        units = self.paint(h)
        self.flat(units)
        return self.enlarge(torch.stack([units[:, 1], 0.2 + 0 * units[:, 0], units[:, 4]], dim=1)).clamp(0, 1)


class Eye(nn.Module):
    """Reads the painter's units off a picture."""

    code_shape = (6, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        small = nn.functional.adaptive_avg_pool2d(x, 4)
        noise = torch.rand(len(x), 6, 4, 4, generator=torch.Generator().manual_seed(0)).to(x)
        noise[:, 1], noise[:, 4] = small[:, 0], small[:, 2]
        return noise


def pack(count: int = 90) -> Concepts:
    """Red, blue and dark quarters, which are tree, sky and ground."""
    draw = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 3, (count, 4, 4), generator=draw)
    colours = torch.tensor([[255, 50, 0], [0, 50, 255], [0, 50, 0]])[cells].permute(0, 3, 1, 2)
    colours = colours * (0.7 + 0.3 * torch.rand(count, 1, 4, 4, generator=draw))
    pictures = colours.repeat_interleave(4, 2).repeat_interleave(4, 3).to(torch.uint8)
    labels = torch.full((count, 3, SIDE, SIDE), -1, dtype=torch.int16)
    labels[:, 0] = cells.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return Concepts("made", pictures, labels, ["tree", "sky", "ground"], ["object"] * 3, torch.zeros(count))


def network() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return Network(body, Preprocessing(16), name="net")


OPTIONS: dict[str, Any] = {"segmenter": network(), "concepts": 3, "side": SIDE, "device": "cpu"}


@pytest.fixture(scope="module")
def painter() -> PPGN:
    return PPGN(Painter(), Eye())


def test_a_concept_is_gone_without_its_unit(painter: PPGN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    monkeypatch.setattr("ppgn.visualize.intervention.LAYERS", ("0",))
    monkeypatch.setattr("ppgn.visualize.intervention.SHARE", 0.3)
    given = {"model": painter, "intervene": ["sky", "tree"], "removed": 1, "out": tmp_path / "o"} | OPTIONS
    done = ppgn.dissect("paint", pack(200), **given)
    labels = {int(unit): done.seen.names[int(done.found.labels[unit])] for unit in (1, 4)}
    assert labels == {1: "tree", 4: "sky"}
    assert done.found.detectors.tolist() == [False, True, False, False, True, False]
    sky, tree = done.results
    for said, unit in ((sky, 4), (tree, 1)):
        for way in ("iou", "causal"):
            assert said[way]["units"] == [unit]
            assert said[way]["removed"] > 0.95
            assert said[way]["interval"][0] > 0.3
    assert sky["inserted"]["ground"][1] > 0.9  # where ground was, sky appears
    report = json.loads((tmp_path / "o/report.json").read_text())
    assert report["concepts"][0]["concept"] == "sky"
    assert report["segmenter_mean_iou"] > 0.9
    assert {file.name for file in (tmp_path / "o").iterdir()} == {
        "units.csv",
        "curve.png",
        "edits.png",
        "report.json",
        "config.yaml",
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "pant"}, "paint"),
        ({"intervene": "sea"}, "unknown concept"),
        ({"removed": 7}, "removed=7"),
        ({"layer": "flat"}, "no places"),
        ({"model": None}, "give its model"),
        ({"removed": 0}, "removed=0"),
    ],
)
def test_refuses(painter: PPGN, given: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgn.visualize.intervention.LAYERS", ("0",))
    with pytest.raises(InputError, match=words):
        ppgn.dissect(**{"layer": "paint", "data": pack(40), "model": painter, "intervene": "sky"} | OPTIONS | given)


def test_a_segmenter_that_sees_nothing_is_refused(painter: PPGN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgn.visualize.intervention.LAYERS", ("0",))
    good = pack(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    labels = good.labels[order][:, :, torch.randperm(SIDE)]
    poor = Concepts("made", good.pictures, labels, good.names, good.categories, good.kinds)
    with pytest.raises(InputError, match="segmenter is poor"):
        ppgn.dissect("paint", poor, model=painter, intervene="sky", **OPTIONS)
