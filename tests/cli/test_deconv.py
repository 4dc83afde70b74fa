"""`ppgn deconv` in words is `ppgn.deconv`, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ppgn.cli import main
from ppgn.media import images

NET = """
from torch import nn
net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), {}, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("relu.py").write_text(NET.format("nn.ReLU6()"))
    Path("silu.py").write_text(NET.format("nn.SiLU()"))
    images.write("photo.png", torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0)))


WORDS = ["image=photo.png", "layer=1", "size=32", "device=cpu"]


def test_writes_maps_of_every_unit() -> None:
    assert main(["deconv", *WORDS, "network=relu.py:net", "unit=[1,2]", "method=[deconvnet,gradient]"]) == 0
    report = json.loads(Path("outputs/deconv-1-1-2/report.json").read_text())
    assert [(row["unit"], row["method"]) for row in report["maps"]] == [
        (f"unit {unit}", name) for unit in (1, 2) for name in ("deconvnet", "gradient")
    ]


def test_a_smooth_network_has_a_gradient_but_no_deconvnet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deconv", *WORDS, "network=silu.py:net", "unit=1", "method=gradient"]) == 0
    capsys.readouterr()
    assert main(["deconv", *WORDS, "network=silu.py:net", "unit=1", "out=o"]) == 2
    assert "silu in 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["unit=4"], "from 0 to 3"),
        (["unit=1", "layer=7"], "unknown layer"),
        (["unit=1", "image=none.png"], "no image file"),
        (["unit=1", "method=magic"], "unknown method"),
        ([], "unit is missing"),
    ],
)
def test_refuses(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {word.partition("=")[0] for word in more}
    words = [word for word in WORDS if word.partition("=")[0] not in given]
    assert main(["deconv", *words, "network=relu.py:net", "out=o", *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.strip().count("\n") == 0
