"""A pack is read tile by tile, its colours are the nearest in CIELAB, and a folder without labels is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.errors import InputError
from ppgn.visualize.concepts import COLOURS, Concepts, colours

PACK = os.environ.get("PPGN_CONCEPTS", "")


def write_pack(folder: Path, objects: np.ndarray, labels: np.ndarray, scenes: list[int]) -> None:
    """A pack of one sheet: pictures uint8 (N, 128, 128, 3), object numbers (N, 128, 128), one texture behind them."""
    folder.mkdir(exist_ok=True)

    def sheet(tiles: np.ndarray, name: str) -> None:
        padded = np.zeros((16, *tiles.shape[1:]), np.uint8)
        padded[: len(tiles)] = tiles
        Image.fromarray(np.concatenate(list(padded), axis=1)).save(folder / name, quality=95)

    assert len(objects) <= 16
    sheet(objects, "objects_images_000.jpg")
    sheet(labels, "objects_labels_000.png")
    sheet(np.full((1, 128, 128, 3), 128, np.uint8), "textures_images_000.jpg")
    rows = [["objects", i, f"photo{i}", scene, 1.0] for i, scene in enumerate(scenes)]
    rows += [["textures", 0, "texture0", 1, 1.0]]
    with (folder / "index.csv").open("w") as file:
        csv.writer(file).writerows([["sheet", "tile", "source", "class", "labelled"], *rows])
    with (folder / "concepts.csv").open("w") as file:
        csv.writer(file).writerows([["number", "name", "category"], [1, "sky", "object"], [2, "tree", "object"]])
    (folder / "classes.json").write_text(json.dumps({"scenes": ["/f/field", "/s/sea"], "textures": ["dots", "lines"]}))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    pictures = np.zeros((3, 128, 128, 3), np.uint8)
    pictures[1] = (200, 10, 20)
    labels = np.zeros((3, 128, 128), np.uint8)
    labels[0, :64], labels[2, :, 64:] = 1, 2
    write_pack(tmp_path / "pack", pictures, labels, [0, 1, 1])
    return tmp_path / "pack"


def test_every_pixel_has_its_concepts(pack: Path) -> None:
    found = Concepts.find(pack, side=8)
    assert found.pictures.shape == (4, 3, 128, 128)
    assert found.names[:6] == ["sky", "tree", "field", "sea", "dots", "lines"]
    assert found.categories[:6] == ["object"] * 2 + ["scene"] * 2 + ["texture"] * 2
    objects, whole, colour = found.labels.transpose(0, 1)
    assert (objects[0, :4] == 0).all()
    assert (objects[0, 4:] == -1).all()
    assert (objects[2, :, 4:] == 1).all()
    assert (objects[3] == -1).all()
    assert whole[:, 0, 0].tolist() == [2, 3, 3, 5]
    assert [found.names[int(place)] for place in colour[:, 0, 0]] == ["black", "red", "black", "grey"]
    assert found.kinds.tolist() == [0, 0, 0, 1]


def test_some_of_them_at_random(pack: Path) -> None:
    some = Concepts.find(pack, 2, side=8, seed=1)
    assert len(some) == 2
    assert Concepts.find(some) is some
    with pytest.raises(InputError, match="5 pictures needed"):
        Concepts.find(pack, 5)


def test_prototypes_are_nearest_to_themselves() -> None:
    swatches = torch.tensor(list(COLOURS.values()), dtype=torch.uint8).T[None, :, :, None]
    assert colours(swatches)[0, :, 0].tolist() == list(range(len(COLOURS)))


def test_refuses(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        Concepts.find(tmp_path / "none")
    with pytest.raises(InputError, match="has no labels"):
        Concepts.find(tmp_path)
    (pack / "objects_labels_000.png").unlink()
    with pytest.raises(InputError, match="cannot read the concepts"):
        Concepts.find(pack)


@pytest.mark.skipif(not PACK, reason="PPGN_CONCEPTS names no pack of concepts")
def test_the_pack_is_what_its_table_says() -> None:
    found = Concepts.find(PACK, 200)
    share = (found.labels[:, 0] >= 0).float().mean((1, 2))
    assert 0.8 < float(share[(found.labels[:, 0] >= 0).flatten(1).any(1)].mean()) <= 1
    assert set(found.categories) == {"object", "scene", "texture", "colour"}
