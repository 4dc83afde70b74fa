"""The notebooks run from top to bottom with small settings, and are stored with small outputs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from tests.notebooks import NOTEBOOKS, code_cells, is_settings, lean

MOST = 300_000  # bytes of a notebook
SMALL: Mapping[str, Mapping[str, Any]] = {
    "captions_and_combinations": {"seeds": "0-3", "few": "0", "weights": [1], "steps": 1, "walk": 2},
    "hidden_units_and_facets": {
        "methods": ["ppgn", "maco"],
        "evaluations": 2,
        "seeds": "0",
        "pile": 12,
        "k": 2,
        "drawings": 8,
    },
    "inpainting_and_editing": {"seeds": "0", "edits": "0", "steps": 2},
    "measuring_honestly": {
        "classes": ["goldfish", "lion"],
        "seeds": "0-1",
        "steps": 1,
        "pile": 20,
        "chains": 2,
        "long": 12,
    },
    "quickstart": {"seeds": "0-3", "steps": 1},
    "spoken_digits": {"seeds": "0-1", "steps": 1, "rounds": 1},
    "train_on_a_folder": {"pictures": 160, "steps": 2, "batch": 4, "prior_steps": 2, "seeds": "0", "walk": 2},
    "your_own_network": {"pictures": 2, "held_out": 1, "epochs": 2, "seeds": "0", "steps": 1},
}


def test_every_notebook_has_small_settings() -> None:
    assert sorted(SMALL) == [notebook.stem for notebook in NOTEBOOKS]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_runs(notebook: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.setattr("ppgn.anchors.SURVEY", 16)  # drawings that are looked at before a chain starts
    monkeypatch.setattr("ppgn.anchors.SHORTLIST", 8)
    small, names = SMALL[notebook.stem], dict[str, Any]()
    first, *others = code_cells(notebook)
    assert is_settings(first)
    exec("".join(first["source"]), names)
    assert names.keys() >= small.keys()
    names |= small
    for number, cell in enumerate(others, 1):
        exec(compile("".join(cell["source"]), f"{notebook.name}, code cell {number}", "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_is_stored_with_small_outputs_and_tells_no_one_where_it_ran(notebook: Any) -> None:
    text = notebook.read_text()
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert len(text) <= MOST
    assert any({"image/png", "image/jpeg"} & output.get("data", {}).keys() for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    texts = ["".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs]
    assert not re.search(r"""(?<![^\s"'(])/\w+/\w""", "\n".join(texts))  # a path from the root of a machine
    assert f"jupyter lab notebooks/{notebook.name}" in text


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_is_told_of_in_the_readme(notebook: Any) -> None:
    assert f"notebooks/{notebook.name}" in (notebook.parents[1] / "README.md").read_text()


def test_outputs_are_kept_once_and_without_warnings() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    outputs = [
        {"output_type": "stream", "name": "stderr", "text": "a bar"},
        {"output_type": "stream", "name": "stdout", "text": "said"},
        {"output_type": "display_data", "data": {"image/png": png, "image/jpeg": "a picture"}},
        {"output_type": "display_data", "data": {"image/png": png}},
    ]
    said, picture, plot = lean(outputs)
    assert said["text"] == "said"
    assert picture["data"] == {"image/jpeg": "a picture"}
    with Image.open(io.BytesIO(base64.b64decode(plot["data"]["image/png"]))) as seen:
        assert (seen.mode, seen.size, seen.convert("RGB").getpixel((5, 5))) == ("P", (20, 20), (255, 0, 0))
