"""`ppgn patches` in words is `ppgn.patches`, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppgn.cli import main

pytestmark = pytest.mark.usefixtures("nets")
WORDS = ["network=nets.py:net", "size=32", "layer=1", "unit=2", "device=cpu"]


def test_writes_pictures_and_a_report() -> None:
    assert main(["patches", *WORDS, "data=photos", "n=4"]) == 0
    report = json.loads(Path("outputs/patches-1-2/report.json").read_text())
    values = [row["activation"] for row in report["units"][0]["patches"]]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert len(list(Path("outputs/patches-1-2/unit 2").iterdir())) == 16


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data=empty"], "no pictures in 'empty'"),
        (["data=photos", "n=11"], "10 photographs"),
        (["data=photos", "unit=9"], "from 0 to 3"),
        ([], "data is missing"),
    ],
)
def test_refuses(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {word.partition("=")[0] for word in more}
    words = [word for word in WORDS if word.partition("=")[0] not in given]
    assert main(["patches", *words, *more, "out=o"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.strip().count("\n") == 0
