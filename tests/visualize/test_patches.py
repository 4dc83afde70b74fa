"""The patches of a unit are those that excite it most, where it is excited, one in each photograph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ppgn
from ppgn.errors import InputError
from tests.tiny import SIDE, reds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve black photographs; number i has a red square of brightness 10 i, number 3 a second one, and a blue."""
    pictures = np.zeros((12, SIDE, SIDE, 3), np.uint8)
    for number, picture in enumerate(pictures):
        picture[4:6, 8:10, 0] = 10 * number
    pictures[3, 0:2, 0:2, 0] = 255
    pictures[3, 10:12, 0:2, 2] = 255
    np.save(tmp_path / "val_images.npy", pictures)
    return tmp_path


def test_the_strongest_places_one_in_each_photograph(folder: Path) -> None:
    done = ppgn.patches(folder, [0, 1], network=reds(), layer="1", n=3, batch_size=5, device="cpu", out=folder / "o")
    red, blue = done.found
    assert [file.rpartition("[")[2] for file in red.files] == ["3]", "11]", "10]"]
    assert red.places == [0, 2 * 8 + 4, 2 * 8 + 4]
    assert red.activations == pytest.approx([1, 110 / 255, 100 / 255])
    assert blue.places[0] == 5 * 8
    assert (red.field.at(20).top, red.field.at(20).left, red.field.at(20).bottom) == (4, 8, 6)
    pictures = red.images()
    assert pictures["patch"][0].float().mean((1, 2)).tolist() == [255, 0, 0]
    assert (pictures["photo"][1][:, 4, 8] == torch.tensor([255, 0, 0])).all()
    report = json.loads((folder / "o/report.json").read_text())
    assert report["units"][0]["patches"][1]["box"] == {"top": 4, "left": 8, "bottom": 6, "right": 10}
    assert (folder / "o/unit 1/3-mask.png").exists()
    given = {"network": reds(), "layer": "1", "n": 2, "device": "cpu", "out": folder / "o"}
    with pytest.raises(InputError, match="overwrite"):
        ppgn.patches(folder, 0, **given)
    with pytest.raises(InputError, match="overwrite"):
        ppgn.patches(folder, 0, **given | {"out": None}).save(folder / "o")
    ppgn.patches(folder, 0, **given, overwrite=True)
    assert len([*(folder / "o").glob("unit */*.png")]) == 2 * 4


def test_the_threshold_is_the_exact_quantile_and_masks_lie_above_it(folder: Path) -> None:
    (red,) = ppgn.patches(folder, 0, network=reds(), layer="1", n=2, batch_size=5, device="cpu").found
    # 0.5 % of 12 x 64 places are 3: 255, 110 and 100 are above what is next, 90
    assert red.threshold == pytest.approx(90 / 255)
    assert red.masks[0, :1, :1].all()
    assert not red.masks[0, 8:, 8:].any()


def test_the_map_is_of_the_patch(folder: Path) -> None:
    (red,) = ppgn.patches(folder, 0, network=reds(), layer="1", n=2, device="cpu").found
    assert (red.maps[1, 0, 4:6, 8:10] > 0).all()
    assert red.maps[1].abs().sum() == red.maps[1, 0, 4:6, 8:10].sum()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unit": 2}, "from 0 to 1"),
        ({"unit": 0, "layer": "9"}, "unknown layer"),
        ({"unit": 0, "n": 13}, "12 photographs"),
        ({"unit": 0, "count": 99}, "99 photographs needed"),
        ({"unit": 0, "n": 0}, "n=0"),
        ({"unit": 0, "data": "nowhere"}, "no folder"),
    ],
)
def test_refuses(folder: Path, given: dict[str, object], words: str) -> None:
    options = {"data": folder, "network": reds(), "layer": "1", "device": "cpu"} | given
    with pytest.raises(InputError, match=words):
        ppgn.patches(**options)  # type: ignore[arg-type]
