"""`ppgn card` in words is `ppgn.card`, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppgn.cli import main


@pytest.fixture
def words(tiny: Path, nets: None) -> list[str]:
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    found = ["network=nets.py:net", "size=32", "layer=1", "device=cpu", f"model={tiny}/model.safetensors"]
    return [*found, "data=photos", "evaluations=2", "seeds=0", "side=32", "n=2", "k=0"]


def test_a_sheet_goes_on_where_it_was_stopped(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", *words, "units=1-2"]) == 0
    folder = Path("outputs/card-1-1-2")
    written = {"config.yaml", "sheet.html", "sheet.png", "unit-0001", "unit-0002"}
    assert {path.name for path in folder.iterdir()} == written
    assert json.loads((folder / "unit-0002/report.json").read_text())["name"] == "nets.py:net 1 unit 2"
    first = (folder / "unit-0001/page.html").stat().st_mtime_ns
    (folder / "unit-0002/page.html").unlink()
    assert main(["card", *words, "units=1-2"]) == 0
    assert (folder / "unit-0001/page.html").stat().st_mtime_ns == first
    assert (folder / "unit-0002/page.html").exists()
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "unit=NUMBER"),
        (["unit=1", "units=0-1"], "give one of them"),
        (["unit=9"], "from 0 to 3"),
        (["units=a-b"], "cannot read units"),
        (["unit=1", "layer=7"], "unknown layer"),
        (["unit=1", "data=empty"], "no pictures in 'empty'"),
        (["unit=1", "n=11"], "10 photographs"),
        (["unit=1", "k=6"], "10 photographs"),
        (["unit=1", "dissection=empty"], "units.csv"),
        (["unit=1", "method=gided"], "guided"),
        (["unit=1", "evaluations=1"], "evaluations=1"),
    ],
)
def test_refuses(words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {word.partition("=")[0] for word in more}
    typed = [word for word in words if word.partition("=")[0] not in given]
    assert main(["card", *typed, *more, "out=o"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("o").exists()
