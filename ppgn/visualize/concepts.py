"""Pictures with named pixels: sheets of tiles with objects, scenes and textures, and colours, which are computed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppgn.errors import InputError, first_line

TILE, ACROSS = 128, 16  # pixels of a tile's side, tiles of a sheet's row
LEAST = {"object": 30, "colour": 30, "scene": 20, "texture": 20}  # pictures that a concept needs to be counted
COLOURS = {  # sRGB
    "black": (0, 0, 0),
    "blue": (0, 0, 200),
    "brown": (120, 70, 25),
    "grey": (128, 128, 128),
    "green": (0, 140, 0),
    "orange": (240, 130, 20),
    "pink": (245, 160, 180),
    "purple": (120, 30, 140),
    "red": (200, 10, 20),
    "white": (250, 250, 250),
    "yellow": (240, 225, 40),
}


@dataclass(frozen=True)
class Concepts:
    """Pictures uint8 (N, 3, S, S), and which concepts each of their pixels shows.

    `labels` int16 (N, 3, S, S) are places in `names`, -1 for none: in the first layer objects, in the second scenes or
    textures, which fill their picture, in the third colours. `categories` says of each concept which of `LEAST` it is;
    `kinds` (N,) numbers the source of each picture, within which labels may be exchanged.
    """

    root: str
    pictures: Tensor
    labels: Tensor
    names: Sequence[str]
    categories: Sequence[str]
    kinds: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    @staticmethod
    def find(root: str | Path | Concepts, count: int | None = None, *, side: int = 32, seed: int = 0) -> Concepts:
        """Read a pack: index.csv, concepts.csv, classes.json, SHEET_images_NNN and SHEET_labels_NNN.

        `count` takes so many at random; labels are those of `side` x `side` pixels, evenly spread. Raises `InputError`
        for a folder without these, a damaged one, and too few pictures.
        """
        if isinstance(root, Concepts):
            return root
        folder = Path(str(root)).expanduser()
        if not folder.is_dir():
            raise InputError(f"no folder '{folder}'; give a pack of concepts, with index.csv and label sheets in it")
        if not (folder / "index.csv").is_file() or not (folder / "concepts.csv").is_file():
            raise InputError(f"'{folder}' has no labels; expected index.csv, concepts.csv and sheets of labels in it")
        try:
            return _read(folder, count, side, seed)
        except InputError:
            raise
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"cannot read the concepts in '{folder}' ({first_line(error)})") from error


def _read(folder: Path, count: int | None, side: int, seed: int) -> Concepts:
    with (folder / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (folder / "concepts.csv").open(encoding="utf-8") as file:
        objects = {int(row["number"]): row["name"] for row in csv.DictReader(file)}
    classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    if count is not None:
        if count > len(rows):
            raise InputError(f"{count} pictures needed, '{folder}' has {len(rows)}; give a smaller count")
        order = np.random.default_rng(seed).permutation(len(rows))[:count]
        rows = [rows[row] for row in sorted(order.tolist())]
    scenes, textures = [name.split("/", 2)[-1] for name in classes["scenes"]], classes["textures"]
    names = [*objects.values(), *scenes, *textures, *COLOURS]
    categories = ["object"] * len(objects) + ["scene"] * len(scenes) + ["texture"] * len(textures)
    categories += ["colour"] * len(COLOURS)
    lookup = np.full(256, -1, np.int16)
    lookup[list(objects)] = np.arange(len(objects))
    first = {"objects": len(objects), "textures": len(objects) + len(scenes)}
    pictures = np.empty((len(rows), TILE, TILE, 3), np.uint8)
    labels = np.full((len(rows), 3, side, side), -1, np.int16)
    at = ((np.arange(side) + 0.5) * TILE / side).astype(int)  # the middle of each cell
    sheets: dict[Path, np.ndarray] = {}
    for place, row in enumerate(rows):
        pictures[place] = _tile(sheets, folder, f"{row['sheet']}_images", int(row["tile"]), ".jpg", "RGB")
        if row["sheet"] != "textures":
            tile = _tile(sheets, folder, f"{row['sheet']}_labels", int(row["tile"]), ".png", "L")
            labels[place, 0] = lookup[tile[np.ix_(at, at)]]
        if row["sheet"] in first:
            labels[place, 1] = first[row["sheet"]] + int(row["class"])
    sources = sorted({row["sheet"] for row in rows})
    found = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    stored = torch.from_numpy(labels)
    for part, into in zip(found.split(64), stored.split(64), strict=True):
        into[:, 2] = colours(part[:, :, at][..., at]) + len(names) - len(COLOURS)
    kinds = torch.tensor([sources.index(row["sheet"]) for row in rows])
    return Concepts(str(folder), found, stored, names, categories, kinds)


def _tile(sheets: dict[Path, np.ndarray], folder: Path, name: str, number: int, suffix: str, mode: str) -> np.ndarray:
    """One tile of the sheets of a name; only the sheet read last is kept, of images and of labels each."""
    each = _tiles_of(folder, name, suffix)
    sheet, place = divmod(number, each)
    path = folder / f"{name}_{sheet:03}{suffix}"
    if path not in sheets:
        for other in [other for other in sheets if other.suffix == suffix]:
            del sheets[other]
        sheets[path] = np.asarray(Image.open(path).convert(mode))
    top, left = place // ACROSS * TILE, place % ACROSS * TILE
    tile = sheets[path][top : top + TILE, left : left + TILE]
    if tile.shape[:2] != (TILE, TILE):
        raise ValueError(f"'{path.name}' ends before its tile {place}")
    return tile


def _tiles_of(folder: Path, name: str, suffix: str) -> int:
    """How many tiles a full sheet has: those of the first."""
    with Image.open(folder / f"{name}_000{suffix}") as sheet:
        return sheet.width // TILE * (sheet.height // TILE)


def colours(pictures: Tensor) -> Tensor:
    """Pictures uint8 (N, 3, H, W) -> the place in `COLOURS` that is nearest in CIELAB, (N, H, W)."""
    prototypes = _lab(torch.tensor(list(COLOURS.values()), dtype=torch.uint8).T[None, :, :, None])[0, :, :, 0].T
    lab = _lab(pictures).permute(0, 2, 3, 1)
    distance = torch.cdist(lab.flatten(0, 2), prototypes)
    return distance.argmin(1).view(lab.shape[:3])


def _lab(rgb: Tensor) -> Tensor:
    """sRGB uint8 (N, 3, H, W) -> CIELAB under D65 (IEC 61966-2-1, CIE 15)."""
    x = rgb.float() / 255
    linear = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear) / torch.tensor([0.9505, 1.0, 1.089]).view(3, 1, 1)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], dim=1)
