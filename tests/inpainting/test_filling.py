"""`inpaint` in Python: what it gives, with files and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import ppgn
from ppgn.errors import InputError
from ppgn.media import images

PHOTO = torch.randint(256, (3, 30, 44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
HOLE = torch.zeros(30, 44, dtype=torch.bool)
HOLE[5:12, 8:20] = True


@pytest.fixture
def given(tiny: Path) -> dict[str, Any]:
    return {"model": ppgn.load(tiny / "model.safetensors"), "hole": HOLE, "seeds": [3, 1], "steps": 2}


def test_a_tensor_is_filled_in_memory_and_saved_when_asked(given: dict[str, Any], tmp_path: Path) -> None:
    done = ppgn.inpaint(PHOTO, **given)
    assert (len(done), done.codes.shape, done.seeds) == (2, (2, 8), (3, 1))
    for picture, seed in zip(done.images, done.seeds, strict=True):
        assert torch.equal(picture[:, ~HOLE], PHOTO[:, ~HOLE])
        alone = ppgn.inpaint(PHOTO, **given | {"seeds": seed})
        assert torch.equal(alone.images[0], picture)
        assert alone.scores == [done.scores[done.seeds.index(seed)]]
    (row,) = done.rows
    assert [said["score"] for said in row["completions"]] == sorted(done.scores, reverse=True)
    assert repr(done).startswith("Completed(2 completions of 1 photo in ")
    with pytest.raises(InputError, match="folder"):
        done.save()
    before = done.images
    done.save(tmp_path / "o")
    assert all(torch.equal(*pair) for pair in zip(done.images, before, strict=True))
    done.save(tmp_path / "again")  # a folder of its own, whole
    assert {path.name for path in (tmp_path / "again").iterdir()} == {path.name for path in (tmp_path / "o").iterdir()}


def test_several_photos_of_any_kind_come_photo_by_photo(given: dict[str, Any], tmp_path: Path) -> None:
    images.write(tmp_path / "file.png", PHOTO)
    every = [PHOTO.float() / 255, images.to_pil(PHOTO), tmp_path / "file.png"]
    done = ppgn.inpaint(every, **given, out=tmp_path / "o")
    assert [len(done.rows), len(done.images), len(done.scores)] == [3, 6, 6]
    for row in range(2):  # the same photo, whatever it came in
        assert all(torch.equal(done.images[row + 2 * photo], done.images[row]) for photo in (1, 2))
    assert Image.open(tmp_path / "o/grid.png").size == (4 * 46 + 2, 3 * 32 + 2)
    assert (tmp_path / "o/file-seed-3-completed.png").exists()


def test_a_condition_that_says_all_needs_no_target(given: dict[str, Any]) -> None:
    def dark(x: Tensor) -> Tensor:
        return -50 * x.mean((1, 2, 3))

    given |= {"steps": 20}
    wanted, plain = ppgn.inpaint(PHOTO, condition=dark, **given), ppgn.inpaint(PHOTO, **given)
    assert not torch.equal(wanted.codes, plain.codes)
    assert ppgn.inpaint(PHOTO, target=dark, **given).scores == wanted.scores
    assert plain.about["condition"] is None


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"hole": ~torch.zeros(30, 44, dtype=torch.bool)}, "whole image"),
        ({"hole": HOLE[1:]}, "mask has 44x29"),
        ({"context": {"wait": 1}}, "context.weight"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"target": ["a", "b"]}, "one target"),
        ({"condition": "places"}, "target"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        ppgn.inpaint(PHOTO, **given | wrong)
