"""What was made of photographs, picture by picture: kept in memory or in a folder, and told in a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ppgn import files, folders, paths
from ppgn.contracts import Samples
from ppgn.errors import InputError
from ppgn.media import images

TILE = 256  # pixels that a picture takes at most in grid.png
SHOWN = 12  # photos in grid.png
FILES = ("report.json", "config.yaml", "grid.png", "*-seed-*.png")  # by which a folder of results is known


class Results:
    """Pictures made of photos so far, for every photo and then every seed; `rows` tells of each photo.

    `images`, uint8 (3, H, W) each, are at the photos' full size, `codes` (N, *code_shape) those they were drawn from,
    `seconds` counts from the call to the last picture written. `save` writes them, grid.png, report.json, config.yaml.
    """

    noun = "pictures"

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        about: Mapping[str, Any],
        seeds: Sequence[int],
        started: float,
    ) -> None:
        self.folder, self.config, self.about, self.seeds = folder, dict(config), dict(about), tuple(seeds)
        self.rows: list[dict[str, Any]] = []
        self.seconds, self.failed = 0.0, 0
        self._started = started
        self._codes: list[Tensor] = []
        self._pictures: dict[str, Tensor | None] = {}  # by file; None for what is in the folder alone
        self._main: list[str] = []
        self._tiles: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._main)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()})"

    @property
    def images(self) -> list[Tensor]:
        """The pictures, uint8 (3, H, W) each; read from their files where they are written already."""
        return [self.picture(file) for file in self._main]

    @property
    def codes(self) -> Tensor:
        """The codes of what was drawn, (N, *code_shape)."""
        return torch.cat(self._codes)

    def keep(self, file: str, picture: Tensor, *, beside: bool = False) -> None:
        """Take a picture uint8 (3, H, W), and write it if there is a folder. beside: it goes with the one before."""
        if self.folder is not None:
            images.write(self.folder / file, picture)
        self._pictures[file] = None if self.folder else picture
        self._main += [] if beside else [file]

    def add(self, row: Mapping[str, Any], samples: Samples, tiles: Sequence[Tensor]) -> None:
        """Take what is to be told of a photo whose pictures are kept, and its row of grid.png, whole pictures."""
        if len(self.rows) < SHOWN:
            self._tiles += map(_tile, tiles)
        self._codes.append(samples.codes)
        self.failed += len(samples.failed)
        before, self.seconds = self.seconds, time.perf_counter() - self._started
        self.rows.append({**row, "seconds": round(self.seconds - before, 3)})
        if self.folder is not None:
            self.save()

    def grid(self) -> Image.Image:
        """Per photo a row, of the first dozen."""
        return images.grid(_stack(self._tiles), columns=len(self._tiles) // min(len(self.rows), SHOWN))

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        head = self.about | {"seeds": list(self.seeds), "seconds": round(self.seconds, 3)}
        return head | {"versions": files.versions(), "images": self.rows}

    def save(self, folder: str | Path | None = None, *, overwrite: bool = False) -> None:
        """Write all files into `folder`, by default that of `out`.

        Raises `InputError` where the system refuses, and where another folder holds results but for `overwrite`.
        """
        if folder is not None and Path(folder).expanduser() != self.folder:
            folder = Path(folder).expanduser()
            folders.check_free(folders.find(folder, *FILES), overwrite)
            self._pictures = {file: self.picture(file) for file in self._pictures}
            self.folder = folder
        for file, picture in self._pictures.items():
            if picture is not None:
                images.write(self._place / file, picture)
                self._pictures[file] = None
        text = json.dumps(self.report(), ensure_ascii=False, indent=1, allow_nan=False)
        paths.write(self._place / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        paths.write(self._place / "report.json", text + "\n")
        images.write(self._place / "grid.png", self.grid())

    def summary(self) -> str:
        """One line for the person who waits."""
        counted = f"{len(self)} {self.noun} of {len(self.rows)} photo{'s' if len(self.rows) > 1 else ''}"
        return f"{counted} in {self.seconds:.1f} s{f', {self.failed} failed' if self.failed else ''}"

    def picture(self, file: str) -> Tensor:
        """The picture of that file, uint8 (3, H, W)."""
        picture = self._pictures[file]
        return images.to_uint8(images.read(self._place / file)) if picture is None else picture

    @property
    def _place(self) -> Path:
        if self.folder is None:
            raise InputError(f"these {self.noun} have no folder; give one: save(FOLDER)")
        return self.folder


@contextmanager
def bar(shown: bool, total: int, name: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr that every call moves on; it appears with the first, so that an error before it is one line."""
    often = 0.1 if sys.stderr.isatty() else 2.0
    with ExitStack() as stack:
        begun: list[Any] = []

        def advance(*_: Any) -> None:
            if not begun:
                steps: Any = tqdm(total=total, desc=name, unit="step", mininterval=often, disable=not shown)
                begun.append(stack.enter_context(steps))
            begun[0].update()

        yield advance


def _tile(picture: Tensor) -> Tensor:
    """A picture uint8 (3, H, W), reduced to at most `TILE` pixels a side."""
    height, width = picture.shape[-2:]
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size == (height, width):
        return picture
    return images.to_uint8(F.interpolate(picture[None].float() / 255, size, mode="bilinear", antialias=True)[0])


def _stack(tiles: Sequence[Tensor]) -> Tensor:
    """Pictures uint8 (3, h, w) on white sheets of one size, (N, 3, H, W), small ones enlarged by a whole factor."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (1, 2))
    sheets = torch.full((len(tiles), 3, height, width), 255, dtype=torch.uint8)
    for sheet, tile in zip(sheets, tiles, strict=True):
        factor = min(height // tile.shape[1], width // tile.shape[2])
        large = tile.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        top, left = (height - large.shape[1]) // 2, (width - large.shape[2]) // 2
        sheet[:, top : top + large.shape[1], left : left + large.shape[2]] = large
    return sheets
