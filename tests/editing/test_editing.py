"""`edit` in Python: what it gives, with files and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ppgn
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.media import images

PHOTO = torch.randint(256, (3, 30, 44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
MASK = torch.zeros(30, 44, dtype=torch.bool)
MASK[5:22, 8:30] = True


def dark(x: Tensor) -> Tensor:
    return -50 * x.mean((1, 2, 3))


@pytest.fixture
def given(tiny: Path) -> dict[str, Any]:
    judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * 30 * 30, 4))
    return {
        "model": ppgn.load(tiny / "model.safetensors"),
        "condition": dark,
        "seeds": [3, 1],
        "steps": 4,
        "judge": judge,
    }


def test_a_photo_is_edited_in_memory_and_saved_when_asked(given: dict[str, Any], tmp_path: Path) -> None:
    edited = ppgn.edit(PHOTO, **given)
    assert (len(edited), edited.codes.shape, edited.seeds) == (2, (2, 8), (3, 1))
    (row,) = edited.rows
    for picture, difference, told in zip(edited.images, edited.differences, row["edits"], strict=True):
        assert told["condition"]["log_prob"] > row["before"]["condition"]["log_prob"]
        assert not told["nothing_changed"]
        away = picture.float() - PHOTO
        assert told["distance"]["l2"] == pytest.approx(away.square().mean().sqrt().item() / 255)
        assert ((difference.float() - 128) * 2 - away).abs().max() <= 2
        assert torch.equal(picture[:, :, :7], PHOTO[:, :, :7])  # beside the square
    assert torch.equal(ppgn.edit(PHOTO, **given | {"seeds": 1}).images[0], edited.images[1])
    assert repr(edited).startswith("Edited(2 edits of 1 photo in ")
    with pytest.raises(InputError, match="folder"):
        edited.save()
    edited.save(tmp_path / "o")
    names = {f"photo-seed-{seed}{kind}.png" for seed in (1, 3) for kind in ("", "-difference")}
    assert {path.name for path in (tmp_path / "o").iterdir()} == names | {"grid.png", "report.json", "config.yaml"}
    assert Image.open(tmp_path / "o/grid.png").size == (5 * 46 + 2, 32 + 2)
    report = json.loads((tmp_path / "o/report.json").read_text())
    assert report["images"] == edited.rows
    assert report["seconds"] > 0


def test_several_photos_and_a_mask(given: dict[str, Any], tmp_path: Path) -> None:
    images.write(tmp_path / "file.png", PHOTO)
    edited = ppgn.edit([PHOTO, tmp_path / "file.png"], mask=MASK, **given, out=tmp_path / "o")
    assert torch.equal(edited.images[0], edited.images[2])
    for picture in edited.images:
        assert torch.equal(picture[:, ~MASK], PHOTO[:, ~MASK])
        assert not torch.equal(picture, PHOTO)


def test_nothing_changed_is_said(given: dict[str, Any]) -> None:
    edited = ppgn.edit(PHOTO, near={"spread": 1e-6}, **given)
    assert "nothing changed" in repr(edited)


def test_the_judge_speaks_of_the_target_where_it_knows_the_class(given: dict[str, Any], tiny: Path) -> None:
    condition = Classifier.from_torchscript(tiny / "classifier.ts", "c", labels=list("abcd"), size=16)
    judge = condition.network
    edited = ppgn.edit(PHOTO, **given | {"condition": condition, "judge": judge})
    (row,) = edited.rows
    for said in (row["before"], *row["edits"]):
        assert said["judge"]["prob"] == pytest.approx(said["condition"]["prob"], abs=0.01)
        assert said["judge"]["best"][0] in "abcd"
    assert "judge p 0." in repr(edited)
    assert "judge" not in ppgn.edit(PHOTO, **given | {"judge": None}).rows[0]["before"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"mask": MASK[1:]}, "44x29"), ({"target": ["a", "b"]}, "one target"), ({"condition": "imagenet"}, "target")],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        ppgn.edit(PHOTO, **given | wrong)
