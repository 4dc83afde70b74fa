"""A card says of a unit what photographs and images say, in files that need nothing beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ppgn
from ppgn.errors import InputError
from tests.tiny import SIDE, reds


@pytest.fixture
def given(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    """Twelve photographs, the red of the i-th is 10 i, and a tiny model."""
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    pictures = np.zeros((12, SIDE, SIDE, 3), np.uint8)
    pictures[..., 0] = 10 * np.arange(12)[:, None, None]
    np.save(tmp_path / "val_images.npy", pictures)
    found: dict[str, Any] = {
        "layer": "1",
        "data": tmp_path,
        "network": reds("<r>"),
        "model": tiny / "model.safetensors",
    }
    return found | {"device": "cpu", "evaluations": 2, "seeds": range(2), "side": 32, "n": 3, "k": 0}


def dissection(folder: Path, network: str = "<r>") -> Path:
    """A report of `ppgn dissect`."""
    folder.mkdir()
    tests = {"as_it_is": {"detectors_beyond_chance": 1}, "rotated": {"detectors_beyond_chance": 0}}
    (folder / "report.json").write_text(json.dumps({"network": network, "layer": "1", "units": 2} | tests))
    rows = "0,<sky>,object,0.05,0.02,True,sea,0.03\n1,sea,object,0.01,0.02,False,a,0\n"
    (folder / "units.csv").write_text(f"unit,label,category,iou,chance,detector,second,second_iou\n{rows}")
    return folder


def test_numbers_are_those_of_the_photographs(given: dict[str, Any], tmp_path: Path) -> None:
    done = ppgn.card(**given, unit=0, dissection=dissection(tmp_path / "d"))
    report = done.pages[0].report
    values = [row["activation"] for row in report["patches"]]
    assert values == pytest.approx([110 / 255, 100 / 255, 90 / 255])
    assert [row["file"].rpartition("[")[2] for row in report["patches"]] == ["11]", "10]", "9]"]
    assert set(report["scores"]) == {"ppgn", "maco", "lucid"}
    assert all(0 <= score["percentile"] <= 100 for score in report["scores"].values())
    assert "0.050, a detector" in report["label"][0]
    with pytest.raises(InputError, match="no folder"):
        done.save()
    done.save(tmp_path / "o")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"config.yaml", "unit-0000"}
    with pytest.raises(InputError, match="overwrite"):
        done.save(tmp_path / "o")


def test_the_page_is_one_file_of_escaped_text(given: dict[str, Any], tmp_path: Path) -> None:
    page = ppgn.card(**given, unit=0, dissection=dissection(tmp_path / "d")).pages[0]
    html = page.read("page.html").decode()
    assert "&lt;sky&gt;" in html
    assert "<sky>" not in html
    assert "<r>" not in html
    pictures = re.findall(r"<img [^>]*>", html)
    assert len(pictures) == 5  # three methods, photographs, histogram
    assert all(re.match(r'<img alt="[^"]+" src="data:image/png;base64,', one) for one in pictures)
    assert not re.search(r"https?:|file:|<script|<link", html)
    (tmp_path / "page.png").write_bytes(page.read("page.png"))
    assert Image.open(tmp_path / "page.png").width == 1280 + 48


def test_a_page_that_stands_is_not_made_again(given: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "o"
    ppgn.card(**given, unit=1, out=out)
    (out / "unit-0001/page.html").write_text("stands")
    done = ppgn.card(**given, units="0-1", out=out)
    assert (out / "unit-0001/page.html").read_text() == "stands"
    assert sorted(done.pages) == [0, 1]
    assert done.sheet().height > 2 * 128
    assert 'href="unit-0001/page.html"' in (out / "sheet.html").read_text()
    with pytest.raises(InputError, match="other settings"):
        ppgn.card(**given | {"n": 2}, unit=1, out=out)
    ppgn.card(**given | {"n": 2}, unit=1, out=out, overwrite=True)
    assert (out / "unit-0001/page.html").read_text() != "stands"
    assert not (out / "unit-0000/page.html").exists()  # of other settings


def test_facets_are_those_of_the_photographs(given: dict[str, Any]) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    html = ppgn.card(**given | {"k": 2, "seeds": 0}, unit=0).pages[0].read("page.html").decode()
    assert "facets of &lt;r&gt; 1 unit 0" in html


def test_a_dissection_of_another_network_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dissects"):
        ppgn.card(**given, unit=0, dissection=dissection(tmp_path / "d", "other"))
