"""A dissection finds the units that look at something, with both tests in its report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import ppgn
from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.concepts import Concepts

SIDE = 16


def network() -> Network:
    """Layer 1: unit 0 is red, unit 1 constant, unit 2 random; layer 0 is linear."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        conv.weight[0, :, 0, 0], conv.weight[1] = torch.tensor([1.0, -1, -1]), 0
        conv.bias[0] = 0
    body = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    return Network(body, Preprocessing(SIDE, (0.3,), (0.2,)), name="net")


@pytest.fixture(scope="module")
def pack() -> Concepts:
    """Sixty noisy pictures, half of them with a red square, which is concept 0, on concept 1."""
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 120, (60, 3, SIDE, SIDE), generator=draw).to(torch.uint8)
    labels = torch.full((60, 3, 8, 8), -1, dtype=torch.int16)
    labels[:, 0] = 1
    for number in range(0, 60, 2):
        y, x = torch.randint(0, 8, (2,), generator=draw).tolist()
        red = torch.tensor([190 + number, 0, 0], dtype=torch.uint8)
        pictures[number, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = red[:, None, None]
        labels[number, 0, y, x] = 0
    return Concepts("made", pictures, labels, ["square", "ground"], ["object"] * 2, torch.zeros(60))


def test_finds_the_unit_that_looks_at_something(pack: Concepts, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    options = {"network": network(), "permutations": 20, "device": "cpu", "side": 8, "batch_size": 25}
    done = ppgn.dissect("1", pack, **options, out=tmp_path / "o")
    assert done.found.detectors.tolist() == [True, False, False]
    assert repr(done) == "Dissection(1: 1 of 3 units are detectors, 1 concepts)"
    report = json.loads((tmp_path / "o/report.json").read_text())
    assert report["as_it_is"]["detectors_beyond_chance"] == 1
    assert {"detectors", "detectors_permuted", "unique_beyond_chance"} <= set(report["rotated"])
    assert report["preferred_axes"] is True
    assert report["categories"]["object"] == {"concepts": 2, "detectors": 1, "unique": 1}
    with (tmp_path / "o/units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["label"], rows[0]["category"], rows[0]["detector"]) == ("square", "object", "True")
    assert (rows[0]["second"], rows[0]["object"]) == ("ground", "square")
    for name in ("concepts.png", "tests.png", "top.png", "config.yaml"):
        assert (tmp_path / "o" / name).stat().st_size > 0
    with pytest.raises(InputError, match="overwrite"):
        ppgn.dissect("1", pack, **options, out=tmp_path / "o")
    dimmed = done.tops[0]
    assert dimmed[:, 0].amax((1, 2)).min() > 220  # the square is inside the mask
    assert dimmed[:, 1].float().mean() < 20  # the rest is not


def test_warns_where_the_layer_is_linear(pack: Concepts, capsys: pytest.CaptureFixture[str]) -> None:
    done = ppgn.dissect("0", pack, network=network(), permutations=2, device="cpu", side=8)
    assert "linear" in capsys.readouterr().err
    assert done.report()["preferred_axes"] is False
    assert "rectifier" in done.report()["warning"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "3"}, "has no places"),
        ({"layer": "9"}, "unknown layer"),
        ({"layer": "1", "least": {"object": 61}}, "no concept has enough"),
        ({"layer": "1", "least": {"part": 1}}, "unknown category"),
        ({"layer": "1", "least": {"object": "many"}}, "least.object=many"),
        ({"layer": "1", "data": "nowhere"}, "no folder"),
        ({"layer": "1", "data": []}, "no folder"),
        ({"layer": "1", "permutations": 0}, "permutations=0"),
    ],
)
def test_refuses(pack: Concepts, given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ppgn.dissect(**{"data": pack, "network": network(), "device": "cpu"} | given)  # type: ignore[arg-type]
