"""`ppgn edit` end to end on tiny networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppgn.cli import main


def test_words_become_an_edited_photo(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(256, size=(30, 44, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    words = ["image=photo.png", f"model={tiny}/model.safetensors", "seeds=0-1", "steps=3", "device=cpu", "judge=null"]
    words += ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "target=2"]
    assert main(["edit", *words, "near.pixels=0.5", "sampler.views=0"]) == 0
    out = capsys.readouterr()
    assert "2 edits of 1 photo" in out.out
    assert "-> outputs/edit-photo" in out.out
    assert "edit: 100%" in out.err
    report = json.loads(Path("outputs/edit-photo/report.json").read_text())
    assert report["near"] == {"spread": 0.7, "pixels": 0.5, "features": 1.0}
    assert [edit["seed"] for edit in report["images"][0]["edits"]] == [0, 1]
    assert Path("outputs/edit-photo/photo-seed-1-difference.png").exists()
    assert main(["edit", *words, "seeds=0"]) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert main(["edit", *words, "seeds=0", "overwrite=true"]) == 0
    assert sorted(path.name for path in Path("outputs/edit-photo").glob("*-seed-*")) == [
        "photo-seed-0-difference.png",
        "photo-seed-0.png",
    ]


def test_a_missing_image_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "target=junco"]) == 2
    assert "image" in capsys.readouterr().err
