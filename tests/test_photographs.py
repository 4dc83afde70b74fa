"""Photographs are found, read, spread, labelled and captioned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppgn.errors import InputError
from ppgn.media import images
from ppgn.photographs import Photographs, square


def store(folder: Path, count: int, side: int = 4, split: str = "val", first: int = 0) -> np.ndarray:
    """A set of grey photographs, number k of level first + k."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = np.arange(first, first + count, dtype=np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (count, side, side, 3))
    np.save(folder / f"{split}_images.npy", pictures)
    return pictures


def levels(pictures: torch.Tensor) -> list[int]:
    return [int(level) for level in pictures[:, 0, 0, 0]]


def test_sets_below_a_folder_are_one_after_the_other(tmp_path: Path) -> None:
    store(tmp_path / "b", 3)
    store(tmp_path / "a/deep", 4, first=100)
    found = Photographs.find(tmp_path)
    assert len(found) == 7
    assert levels(found.all()) == [100, 101, 102, 103, 0, 1, 2]
    assert levels(torch.stack([found[row] for row in range(7)])) == levels(found.all())
    assert levels(found.spread(3, 4)) == [100, 103, 2]
    assert [levels(batch) for batch in found.batches(3, 4, size=2)] == [[100, 103], [2]]
    assert found.name(5).endswith("b/val_images.npy[1]")
    assert found.all().is_contiguous(memory_format=torch.channels_last)
    assert levels(Photographs.find([tmp_path / "b", tmp_path / "a"], limit=2).all()) == [0, 1, 100, 101]
    assert Photographs.find(found) is found


def test_splits_are_apart(tmp_path: Path) -> None:
    store(tmp_path, 2, split="train", first=9)
    store(tmp_path, 1)
    assert levels(Photographs.find(tmp_path, "train").all()) == [9, 10]


def test_picture_files_at_any_depth_are_photographs_too(tmp_path: Path) -> None:
    for number, name in enumerate(["a.png", "deep/er/b.png", "deep/c.webp"]):
        images.write(tmp_path / name, torch.full((3, 20, 30), number / 4))
    (tmp_path / "deep/notes.txt").write_text("no picture")
    found = Photographs.find(str(tmp_path))
    assert [Path(found.name(row)).name for row in range(3)] == ["a.png", "c.webp", "b.png"]
    assert found[0].shape == (3, 20, 30)
    assert found.spread(2, 16)[:, 0, 8, 8].tolist() == [0, 64]
    assert found.labels == found.imagenet == [None] * 3
    images.write(tmp_path / "val/x/d.png", torch.ones(3, 8, 8))
    assert len(Photographs.find(tmp_path)) == 1
    assert len(Photographs.find(tmp_path, "train")) == 4


def test_photographs_of_several_sizes_make_no_array(tmp_path: Path) -> None:
    store(tmp_path / "a", 2)
    store(tmp_path / "b", 2, side=6)
    with pytest.raises(InputError, match="4x4, 6x6"):
        Photographs.find(tmp_path).all()
    assert Photographs.find(tmp_path).spread(4, 5).shape == (4, 3, 5, 5)


def test_labels_are_names_and_places_in_imagenet(tmp_path: Path) -> None:
    store(tmp_path / "a", 3)
    store(tmp_path / "b", 2)
    store(tmp_path / "c", 1)
    (tmp_path / "a/classes.json").write_text(json.dumps([{"name": "cat", "imagenet_index": 7}, {"name": "cup"}]))
    np.save(tmp_path / "a/val_labels.npy", np.array([1, 0, 0]))
    (tmp_path / "b/classes.json").write_text(json.dumps(["sea", "hill"]))
    np.save(tmp_path / "b/val_labels.npy", np.array([1, 0]))
    found = Photographs.find(tmp_path)
    assert found.names == ["cat", "cup", "sea", "hill"]
    assert found.labels == ["cup", "cat", "cat", "hill", "sea", None]
    assert found.imagenet == [None, 7, 7, None, None, None]


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0, 0, -1]])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: list[int]) -> None:
    store(tmp_path, 3)
    (tmp_path / "classes.json").write_text('["cat", "cup"]')
    np.save(tmp_path / "val_labels.npy", np.array(labels))
    with pytest.raises(InputError, match="val_labels"):
        _ = Photographs.find(tmp_path).labels


def test_captions_are_those_of_every_photograph(tmp_path: Path) -> None:
    store(tmp_path, 2)
    path = tmp_path / "val_captions.jsonl"
    path.write_text('{"captions": ["a", "b"]}\n{"captions": ["c"]}\n')
    assert Photographs.find(tmp_path).captions == [["a", "b"], ["c"]]
    assert Photographs.find(tmp_path, limit=1).captions == [["a", "b"]]
    for text in ('{"captions": ["a"]}\n{"captions": []}\n', '{"captions": ["a"]}\n', '{"words": []}\n', "a\nb\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="caption"):
            _ = Photographs.find(tmp_path).captions


def test_photographs_of_a_class_are_none_of_those_taken_before(tmp_path: Path) -> None:
    store(tmp_path, 20)
    (tmp_path / "classes.json").write_text(json.dumps([{"imagenet_index": k} for k in (1, 5, 9)]))
    told = np.array([0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    np.save(tmp_path / "val_labels.npy", told)
    found = Photographs.find(tmp_path)
    assert found.rows(4) == [0, 6, 12, 19]  # of the classes 1, 5, 1 and 5
    chosen = found.of_classes([5, 9, 1], 5, 4, apart=4)
    assert list(chosen) == [5, 1]  # of class 9 there is one only
    assert levels(chosen[5]) == [2, 4, 7, 8, 9]
    assert levels(chosen[1]) == [1, 5, 13, 15, 18]
    assert list(found.of_classes([5], 6, 4, apart=4)) == []
    assert levels(found.of_classes([5], 6, 4, apart=2)[5]) == [2, 4, 6, 7, 8, 9]


def test_square_cuts_the_middle_out() -> None:
    picture = torch.zeros(1, 3, 4, 8, dtype=torch.uint8)
    picture[..., 2:6] = 200
    assert torch.equal(square(picture, 4), torch.full((1, 3, 4, 4), 200, dtype=torch.uint8))
    assert torch.equal(square(torch.full((1, 3, 2, 2), 0.5), 2), torch.full((1, 3, 2, 2), 128, dtype=torch.uint8))


def test_what_is_no_folder_of_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        Photographs.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no pictures"):
        Photographs.find(tmp_path)
    store(tmp_path, 3)
    with pytest.raises(InputError, match="smaller n"):
        Photographs.find(tmp_path).spread(4, 4)
    np.save(tmp_path / "val_images.npy", np.zeros((3, 4, 4, 3)))
    with pytest.raises(InputError, match="expected uint8"):
        Photographs.find(tmp_path)
    (tmp_path / "val_images.npy").write_bytes(b"")
    with pytest.raises(InputError, match="store it anew"):
        Photographs.find(tmp_path)


@pytest.mark.parametrize("root", [3, [3], {"a": 1}, None])
def test_what_names_no_folder_is_one_line(root: Any) -> None:
    with pytest.raises(InputError, match="expected a folder, or a list of folders"):
        Photographs.find(root)


def test_arrays_may_be_grey(tmp_path: Path) -> None:
    np.save(tmp_path / "val_images.npy", np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1))
    found = Photographs.find(tmp_path)
    assert found[1].shape == (1, 4, 4)
    assert found.all().shape == (3, 1, 4, 4)
    np.save(tmp_path / "val_images.npy", np.zeros((3, 4, 4, 2), dtype=np.uint8))
    with pytest.raises(InputError, match="grey"):
        Photographs.find(tmp_path)
