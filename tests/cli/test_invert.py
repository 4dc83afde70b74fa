"""`ppgn invert` in words is `ppgn.invert`, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ppgn.cli import main
from ppgn.media import images

WORDS = ["image=photo.png", "network=torchvision/resnet18", "weights=null", "size=32", "device=cpu", "steps=2"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images.write("photo.png", torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0)))


def test_layers_by_all_methods(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, f"model={tiny}/model.safetensors", "layer=[layer1,fc]", "method=all"]
    assert main(["invert", *words]) == 0
    folder = Path("outputs/invert-photo-layer1-fc")
    report = json.loads((folder / "report.json").read_text())
    assert [(row["layer"], row["method"]) for row in report["images"]] == [
        (layer, method) for layer in ("layer1", "fc") for method in ("regularised", "decoder", "both")
    ]
    assert report["side"] == 16
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (["layer=layer9"], "layer4"),
        (["layer=layer1", "image=none.png"], "no image file"),
        (["layer=layer1", "method=bith"], "both"),
        (["layer=layer1", "steps=none"], "steps"),
        (["layer=layer1", "weights=[]"], "weights"),
        ([], "layer"),
    ],
)
def test_bad_input_is_one_line(more: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {word.partition("=")[0] for word in more}
    words = [word for word in WORDS if word.partition("=")[0] not in given]
    assert main(["invert", *words, "method=regularised", *more]) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1
