"""Photographs to compare with, and their classes where these are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppgn.contracts import Generator
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.model import PPGN

SIDE = 64  # pixels; larger pictures are reduced to it before they are judged


@dataclass(frozen=True)
class Data:
    """Photographs below a folder: sets `val_images.npy`, uint8 (N, S, S, 3), or else picture files."""

    folder: Path
    arrays: tuple[np.ndarray, ...]
    files: tuple[Path, ...]

    @staticmethod
    def find(root: str | None) -> Data:
        """What there is, sorted by path. Raises `InputError` where there is nothing, or not what it should be."""
        if root is None:
            raise InputError("data is missing: add data=FOLDER, with val_images.npy or pictures in it")
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise InputError(f"no data folder '{folder}'; give one with val_images.npy or pictures: data=FOLDER")
        arrays = tuple(_array(path) for path in sorted(folder.rglob("val_images.npy")))
        suffixes = Image.registered_extensions().keys()
        found = () if arrays else sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        if not arrays and not found:
            raise InputError(f"data: no val_images.npy and no pictures in '{folder}'; give another data=FOLDER")
        return Data(folder, arrays, tuple(found))

    def __len__(self) -> int:
        return sum(map(len, self.arrays)) + len(self.files)

    def spread(self, count: int, side: int) -> Tensor:
        """`count` pictures spread evenly over all there are, the same every time, uint8 (count, 3, side, side)."""
        if count > len(self):
            raise InputError(f"data: {count} pictures needed, '{self.folder}' has {len(self)}; give a smaller n")
        return torch.cat([reduce(self._picture(row), side) for row in self._rows(count)])

    def classes(self, count: int) -> tuple[int, ...] | None:
        """ImageNet's index of each of the pictures that `spread` gives; None where one of them is of no such class.

        Read from `val_labels.npy` and `classes.json` (a list of {"imagenet_index": ...}) beside `val_images.npy`.
        """
        known = self._labels()
        chosen = [known[row] for row in self._rows(count)]
        return None if None in chosen else tuple(cast("list[int]", chosen))

    def of_classes(self, wanted: Sequence[int], each: int, side: int, *, apart: int) -> dict[int, Tensor]:
        """`each` pictures, uint8 (each, 3, side, side), of every ImageNet class wanted of which there are so many.

        None of them is among those that `spread(apart)` gives.
        """
        rows: dict[int, list[int]] = {index: [] for index in wanted}
        taken = set(self._rows(apart))
        for row, label in enumerate(self._labels()):
            if label in rows and row not in taken:
                rows[label].append(row)
        chosen = {index: np.array(of_class) for index, of_class in rows.items() if len(of_class) >= each}
        spread = {index: of[np.linspace(0, len(of) - 1, each).astype(int)] for index, of in chosen.items()}
        return {index: torch.cat([reduce(self._picture(row), side) for row in of]) for index, of in spread.items()}

    def _rows(self, count: int) -> list[int]:
        """The rows that `spread` gives."""
        rows: list[int] = np.linspace(0, len(self) - 1, count).astype(int).tolist()
        return rows

    def _labels(self) -> list[int | None]:
        """ImageNet's index of every picture, None where it is not told."""
        of_arrays = [_imagenet_classes(Path(str(cast(Any, a).filename)).parent, len(a)) for a in self.arrays]
        return [*(label for labels in of_arrays for label in labels), *([None] * len(self.files))]

    def _picture(self, row: int) -> Tensor:
        """Number `row`, uint8 (1, 3, H, W)."""
        for array in self.arrays:
            if row < len(array):
                return torch.from_numpy(array[row].copy()).permute(2, 0, 1)[None]
            row -= len(array)
        return images.to_uint8(images.read(self.files[row]))[None]


def _imagenet_classes(folder: Path, count: int) -> list[int | None]:
    """ImageNet's index of every picture of a set, None where it is not told."""
    try:
        classes = json.loads((folder / "classes.json").read_text())
        return [classes[label].get("imagenet_index") for label in np.load(folder / "val_labels.npy")]
    except (OSError, ValueError, IndexError, AttributeError):
        return [None] * count


def _array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"data: cannot read {path} ({str(error).splitlines()[0]}); store it anew") from error
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise InputError(f"data: {path} holds {array.dtype} {array.shape}; expected uint8 (N, S, S, 3)")
    return array


def reduce(pictures: Tensor, side: int) -> Tensor:
    """Pictures (N, 3, H, W), uint8 or float, cropped to a square and resized -> uint8 (N, 3, side, side)."""
    if pictures.shape[-2:] == (side, side):
        return images.to_uint8(pictures)
    fitted = [images.fit(image.float() / 255, (side, side)) for image in images.to_uint8(pictures)]
    return torch.stack([images.to_uint8(image) for image in fitted])


def side_of(model: PPGN) -> int:
    """At what size a model's pictures are judged."""
    return min(SIDE, *cast(Generator, model.generator).signal_shape[1:])
