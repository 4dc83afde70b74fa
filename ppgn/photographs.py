"""Photographs in folders, with their classes and captions where these are told: one reader for every room."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppgn import files
from ppgn.errors import InputError, why
from ppgn.media import images


@dataclass(frozen=True)
class Photographs:
    """Photographs of one `split`: sets SPLIT_images.npy, uint8 (N, S, S, 3), or else picture files, sorted by path.

    Beside an array may stand SPLIT_labels.npy, whole numbers (N,), with classes.json, a list of NAME or of {"name":
    NAME, "imagenet_index": NUMBER}; and SPLIT_captions.jsonl, a line {"captions": [...]} for every photograph. A
    picture file has no label. `photographs[row]` is one of them, uint8 (3, H, W), as large as it is stored. Arrays may
    also be grey, (N, S, S, 1): then (1, H, W).
    """

    root: str  # how a person calls it
    split: str
    sets: tuple[tuple[Path, np.ndarray], ...]  # folder and array
    files: tuple[Path, ...]

    @staticmethod
    def find(
        root: str | Path | Sequence[str | Path] | Photographs, split: str = "val", *, limit: int | None = None
    ) -> Photographs:
        """What lies in a folder and below it, or in several folders, one after the other.

        Picture files count where there is no array; those of ROOT/SPLIT alone, if there is such a folder. `limit`
        takes the first so many of every array. `Photographs` are given back as they are. Raises `InputError` for a
        folder that is missing or has none, and for an array that cannot be read or holds something else.
        """
        if isinstance(root, Photographs):
            return root
        places = [root] if isinstance(root, str | Path) else root
        if not isinstance(places, Sequence) or not all(isinstance(place, str | Path) for place in places):
            raise InputError(f"photographs {root!r}: expected a folder, or a list of folders")
        folders = [Path(place).expanduser() for place in places]
        sets: list[tuple[Path, np.ndarray]] = []
        files: list[Path] = []
        name = ", ".join(map(str, folders))
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"no folder '{folder}'; give one with {split}_images.npy or picture files in it")
            found = [(path.parent, _array(path)[:limit]) for path in sorted(folder.rglob(f"{split}_images.npy"))]
            sets += found
            if not found:
                inside = folder / split if (folder / split).is_dir() else folder
                suffixes = Image.registered_extensions().keys()
                files += sorted(path for path in inside.rglob("*") if path.suffix.lower() in suffixes)
        if not sets and not files:
            raise InputError(f"no {split}_images.npy and no pictures in '{name}'; give another folder of photographs")
        return Photographs(name, split, tuple(sets), tuple(files))

    def __len__(self) -> int:
        return sum(len(array) for _, array in self.sets) + len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        place = row
        for _, array in self.sets:
            if place < len(array):
                return torch.from_numpy(array[place].copy()).permute(2, 0, 1)
            place -= len(array)
        return images.to_uint8(images.read(self.files[place]))

    def name(self, row: int) -> str:
        """Where a photograph lies: its file, or SET/SPLIT_images.npy[NUMBER]."""
        for folder, array in self.sets:
            if row < len(array):
                return f"{folder / f'{self.split}_images.npy'}[{row}]"
            row -= len(array)
        return str(self.files[row])

    def take(self, rows: Iterable[int], side: int) -> Tensor:
        """The photographs of `rows`, cropped to a square and resized, uint8 (len(rows), 3, side, side)."""
        return torch.cat([square(self[row][None], side) for row in rows])

    def all(self) -> Tensor:
        """All of them as they are stored, uint8 (N, 3, S, S), in memory channels last.

        Raises `InputError` unless they are of one size.
        """
        pictures = (self[row] for row in range(len(self) - len(self.files), len(self)))
        parts = [*(array for _, array in self.sets), *(picture.permute(1, 2, 0)[None].numpy() for picture in pictures)]
        sizes = {part.shape[1:3] for part in parts}
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            raise InputError(f"the photographs in '{self.root}' are of several sizes ({found}); store them at one size")
        return torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2)

    def rows(self, count: int) -> list[int]:
        """`count` rows spread evenly over all there are, the same every time. Raises `InputError` for too many."""
        if count > len(self):
            raise InputError(f"{count} photographs needed, '{self.root}' has {len(self)}; give a smaller n")
        found: list[int] = np.linspace(0, len(self) - 1, count).astype(int).tolist()
        return found

    def spread(self, count: int, side: int) -> Tensor:
        """The photographs of `rows`, uint8 (count, 3, side, side)."""
        return self.take(self.rows(count), side)

    def batches(self, count: int, side: int, size: int = 50) -> Iterator[Tensor]:
        """The same, `size` at a time."""
        rows = self.rows(count)
        return (self.take(rows[first : first + size], side) for first in range(0, count, size))

    @cached_property
    def _told(self) -> list[tuple[list[dict[str, Any]], list[int]]]:
        """Of every set the entries of classes.json, and which of them each photograph has; both empty if not told."""
        return [_classes(folder, self.split, len(array)) for folder, array in self.sets]

    @property
    def names(self) -> list[str]:
        """The names of all classes that are told, in order, whether a photograph has them or not."""
        return list(dict.fromkeys(entry["name"] for classes, _ in self._told for entry in classes if "name" in entry))

    @property
    def labels(self) -> list[str | None]:
        """The name of every photograph's class, None where it is not told."""
        return self._of_each("name")

    @property
    def imagenet(self) -> list[int | None]:
        """ImageNet's index of every photograph's class, None where it is not told."""
        return self._of_each("imagenet_index")

    def _of_each(self, key: str) -> list[Any]:
        found: list[Any] = []
        for (_, array), (classes, labels) in zip(self.sets, self._told, strict=True):
            found += [classes[label].get(key) for label in labels] or [None] * len(array)
        return found + [None] * len(self.files)

    @property
    def captions(self) -> list[list[str]]:
        """The captions of every photograph. Raises `InputError` where they are missing or not what they should be."""
        found: list[list[str]] = []
        for folder, array in self.sets:
            path = folder / f"{self.split}_captions.jsonl"
            try:
                lines = path.read_text(encoding="utf-8").splitlines()[: len(array)]
                texts = [[str(text) for text in json.loads(line)["captions"]] for line in lines]
            except (OSError, ValueError, LookupError, TypeError) as error:
                expected = 'expected a line {"captions": [...]} for every photograph'
                raise InputError(f"cannot read captions in '{path}'; {expected}") from error
            if len(texts) < len(array) or not all(texts):
                few = f"{sum(map(bool, texts))} of {len(array)} photographs have a caption"
                raise InputError(f"'{path}': {few}; give each at least one")
            found += texts
        if self.files:
            raise InputError(f"no captions in '{self.root}'; expected {self.split}_images.npy and _captions.jsonl")
        return found

    def of_classes(self, wanted: Sequence[int], each: int, side: int, *, apart: int) -> dict[int, Tensor]:
        """`each` photographs, uint8 (each, 3, side, side), of every ImageNet class wanted of which there are so many.

        None of them is among those that `spread(apart, side)` gives.
        """
        rows: dict[int, list[int]] = {index: [] for index in wanted}
        taken = set(self.rows(apart))
        for row, index in enumerate(self.imagenet):
            if index in rows and row not in taken:
                rows[index].append(row)
        chosen = {index: of for index, of in rows.items() if len(of) >= each}
        return {
            index: self.take([of[place] for place in np.linspace(0, len(of) - 1, each).astype(int)], side)
            for index, of in chosen.items()
        }


def square(pictures: Tensor, side: int) -> Tensor:
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], cropped to a square and resized -> uint8 (N, 3, side, side)."""
    if pictures.shape[-2:] == (side, side):
        return images.to_uint8(pictures)
    fitted = [images.fit(picture.float() / 255, (side, side)) for picture in images.to_uint8(pictures)]
    return torch.stack([images.to_uint8(picture) for picture in fitted])


def _array(path: Path) -> np.ndarray:
    array = files.array(path, mmap_mode="r")
    if array.ndim != 4 or array.shape[3] not in (1, 3) or array.dtype != np.uint8:
        expected = "expected uint8 (N, S, S, 3), or (N, S, S, 1) for grey"
        raise InputError(f"'{path}' holds {array.dtype} {array.shape}; {expected}")
    return array


def _classes(folder: Path, split: str, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    """The entries of classes.json, and the place there of each of `count` photographs; both empty if not told."""
    path = folder / f"{split}_labels.npy"
    if not path.exists() or not (folder / "classes.json").exists():
        return [], []
    try:
        content = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        classes = [entry if isinstance(entry, dict) else {"name": str(entry)} for entry in content]
        labels = files.array(path)[:count].tolist()
        if len(labels) == count and all(0 <= label < len(classes) for label in labels):
            return classes, labels
    except files.DAMAGED as error:
        raise InputError(f"cannot read the classes in '{folder}' ({why(error)})") from error
    raise InputError(f"'{path}' does not fit; expected {count} whole numbers, the place of each class in classes.json")
