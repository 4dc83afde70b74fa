"""Photos as a person gives them, and the holes in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.errors import InputError
from ppgn.inpainting.photos import Photo, photos

PIXELS = np.random.default_rng(0).integers(256, size=(30, 44, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_holes_by_name_by_file_and_by_folder(tmp_path: Path) -> None:
    painted = np.zeros((30, 44), dtype=np.uint8)
    painted[3:9, 4:15] = 255
    mask = save(tmp_path / "mask.png", painted)
    save(tmp_path / "masks" / "photo.png", painted)
    (photo,) = photos(save(tmp_path / "photo.png"))

    def hole(named: object) -> np.ndarray:
        return photo.hole(named).numpy()

    assert np.array_equal(hole(mask), painted == 255)
    assert np.array_equal(hole(tmp_path / "masks"), painted == 255)
    assert np.array_equal(hole(torch.from_numpy(painted == 255)), painted == 255)
    strokes = np.zeros((30, 44, 4), dtype=np.uint8)
    strokes[..., :3] = 255
    strokes[..., 3] = painted
    assert np.array_equal(hole(save(tmp_path / "strokes.png", strokes)), painted == 255)  # white paint on nothing
    side = round(30 * 100 / 227)
    places = {mask: hole(mask) for mask in ("random", "random-1", "random-2")}
    assert all(place.sum() == side**2 for place in places.values())
    assert len({place.tobytes() for place in places.values()}) > 1
    assert np.array_equal(places["random"], hole("random-0"))
    assert hole("center")[8:22, 11:33].all()
    assert hole("center").sum() == 14 * 22


def test_photos_may_be_files_folders_pictures_and_tensors(tmp_path: Path) -> None:
    file = save(tmp_path / "all" / "a.png")
    save(tmp_path / "all" / "b.png", PIXELS[:, :20])
    assert [photo.stem for photo in photos(tmp_path / "all")] == ["a", "b"]
    whole = torch.from_numpy(PIXELS).permute(2, 0, 1)
    given = [str(file), Image.fromarray(PIXELS), whole, whole.float() / 255]
    assert all(torch.equal(photo.pixels, whole) for photo in photos(given))
    assert len({photo.stem for photo in photos(given)}) == 4


def test_transparent_pixels_must_lie_in_the_hole() -> None:
    opaque = torch.ones(4, 4, dtype=torch.bool)
    opaque[0, 0] = False
    photo = Photo("p.png", torch.zeros(3, 4, 4, dtype=torch.uint8), opaque)
    assert torch.equal(photo.hole("alpha"), ~opaque)
    with pytest.raises(InputError, match="transparent"):
        photo.hole("center")
    with pytest.raises(InputError, match="no transparent pixels"):
        Photo("p.png", photo.pixels).hole("alpha")


def test_what_cannot_be_used(tmp_path: Path) -> None:
    for given in (tmp_path / "none.png", tmp_path, save(tmp_path / "deep.png", np.zeros((4, 4), dtype=np.uint16))):
        with pytest.raises(InputError):
            photos(given)
    with pytest.raises(InputError, match="rename"):
        photos([save(tmp_path / "x" / "a.png"), save(tmp_path / "y" / "a.png")])


def test_stripes_from_edge_to_edge() -> None:
    photo = Photo("p.png", torch.zeros(3, 6, 8, dtype=torch.uint8))
    assert photo.hole("columns:5-7").any(dim=0).nonzero().flatten().tolist() == [5, 6, 7]
    assert int(photo.hole("columns:5-7").sum()) == 3 * 6
    assert photo.hole("rows:0-0").any(dim=1).nonzero().flatten().tolist() == [0]
    for strange in ("columns:5-8", "rows:3-2"):
        with pytest.raises(InputError, match=strange):
            photo.hole(strange)


def test_files_that_are_no_pictures_are_read_by_who_can(tmp_path: Path) -> None:
    for name in ("a.wav", "b.png"):
        save(tmp_path / name) if name == "b.png" else (tmp_path / name).write_bytes(b"sound")
    heard, seen = photos([tmp_path / "a.wav", tmp_path / "b.png"], lambda path: torch.ones(1, 4, 5, dtype=torch.uint8))
    assert torch.equal(heard.pixels, torch.ones(3, 4, 5, dtype=torch.uint8))
    assert seen.pixels.shape == (3, 30, 44)
