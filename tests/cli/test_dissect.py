"""`ppgn dissect` in words is `ppgn.dissect`, and what cannot be used is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppgn.cli import main
from tests.visualize.test_concepts import write_pack

WORDS = ["network=nets.py:net", "size=32", "device=cpu", "permutations=3", "side=8"]


@pytest.fixture(autouse=True)
def pack(tmp_path: Path, nets: None) -> None:
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (12, 128, 128, 3), dtype=np.uint8)
    write_pack(tmp_path / "pack", pictures, draw.integers(0, 3, (12, 128, 128), dtype=np.uint8), [0] * 12)


def test_writes_a_report() -> None:
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    words = ["dissect", *WORDS, "layer=1", "data=pack", "least.object=12", "least.colour=1", "out=o"]
    assert main(words) == 0
    report = json.loads(Path("o/report.json").read_text())
    assert (report["units"], report["pictures"], report["permutations"]) == (4, 13, 3)
    assert report["categories"]["object"]["concepts"] == 2
    assert main(words) == 2
    assert main([*words, "overwrite=true"]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["layer=1", "data=photos"], "has no labels"),
        (["layer=1", "data=pack", "least.colour=99"], "no concept has enough"),
        (["layer=3", "data=pack"], "has no places"),
        (["layer=1", "data=pack", "count=14"], "14 pictures needed"),
        (["layer=1"], "data is missing"),
    ],
)
def test_refuses(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissect", *WORDS, *more, "out=o"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.strip().count("\n") == 0
