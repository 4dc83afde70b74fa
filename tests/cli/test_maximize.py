"""`ppgn maximize` end to end: a network by its name and random weights, files, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppgn.cli import main
from ppgn.media import images

WORDS = ["network=torchvision/resnet18", "weights=null", "size=32", "device=cpu", "seeds=0", "side=32", "evaluations=2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_hidden_unit_by_two_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maximize", *WORDS, "layer=layer3", "unit=40", "method=[maco,pixels]"]) == 0
    folder = Path("outputs/maximize-layer3-40")
    assert {path.name for path in folder.iterdir()} == {"grid.png", "images", "report.json", "config.yaml"}
    report = json.loads((folder / "report.json").read_text())
    assert report["unit"] == "torchvision/resnet18 layer3 unit 40"
    assert [row["method"] for row in report["images"]] == ["maco", "pixels"]
    assert str(folder) in capsys.readouterr().out


def test_a_class_is_named_and_the_pictures_are_the_function_s() -> None:
    assert main(["maximize", *WORDS, "unit=goldfish", "method=pixels", "out=o"]) == 0
    assert json.loads(Path("o/report.json").read_text())["unit"] == "torchvision/resnet18 goldfish"
    picture = images.to_uint8(images.read("o/images/pixels-seed-0000.png"))
    assert picture.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (["layer=layer9", "unit=1"], "layer4"),
        (["layer=layer3", "unit=256"], "0 to 255"),
        (["layer=fc", "unit=1", "position=[0,0]"], "no positions"),
        (["layer=layer3", "unit=1", "position=[9,9]"], "outside"),
        (["unit=1", "method=makko"], "maco"),
        (["unit=[]"], "empty"),
        ([], "unit"),
    ],
)
def test_bad_input_is_one_line(more: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maximize", *WORDS, *more]) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1
