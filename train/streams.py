"""Photographs in .tar files of WebDataset's layout, read where they lie: any picture at any time, by an index.

A sample is the members that share a name up to its first dot: KEY.png, or another picture, and KEY.cls, the number of
its class. The index tells where each picture begins; it is made of the headers once and kept beside the files. What
an epoch's order is follows from seed and number of the epoch, so nothing has to be kept to go on in the middle of one.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, cast

import lightning
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppgn import files
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.photographs import square
from train.data import Draws, Stream
from train.shares import mean

FORMAT = "ppgn-tar-index-1"
COLUMNS = ("file", "start", "length", "label")
MIXED = 16  # .tar files that are read side by side, whose pictures are shuffled together
SHOWN = 3  # names of damaged pictures that are said


class Shards:
    """The photographs of one `split` in the .tar files below a folder, cropped to squares of `size` pixels a side.

    Files in ROOT/SPLIT count, or else those with SPLIT in their names, or else all. `shards[rows]` reads some (n,) ->
    uint8 (n, 3, size, size). Raises `InputError` where there are none.
    """

    def __init__(self, root: str | Path, split: str, size: int) -> None:
        self.root, self.size = Path(root).expanduser(), size
        found = (self.root.rglob(pattern) for pattern in (f"{split}/**/*.tar", f"*{split}*.tar", "*.tar"))
        self.paths = next((paths for each in found if (paths := sorted(each))), [])
        if not self.paths:
            raise InputError(f"no .tar files in '{root}'; make some: ppgn train pack data=FOLDER out='{root}'")
        index = self._index(self.root / f"{split}-index.safetensors")
        self.file, self.start, self.length, self.label = (index[name] for name in COLUMNS)
        if not len(self):
            raise InputError(f"no pictures in the .tar files of '{root}'; give another folder, or pack photographs")
        self.damaged = torch.zeros(len(self), dtype=torch.bool).share_memory_()  # what workers have found so far

    def _index(self, path: Path) -> dict[str, Tensor]:
        """Where pictures begin, from `path` if that is of these files; else found, and written there if that may be."""
        asked = [[str(file.relative_to(self.root)), file.stat().st_size] for file in self.paths]
        with suppress(InputError):
            if path.exists() and files.head(path, FORMAT)["files"] == asked:
                return files.load(path, FORMAT)[0]
        rows = [(number, *row) for number, file in enumerate(self.paths) for row in members(file)]
        index = {name: torch.tensor([row[n] for row in rows], dtype=torch.int64) for n, name in enumerate(COLUMNS)}
        with suppress(InputError):  # a folder that may only be read
            files.save(path, index, FORMAT, files=asked)
        return index

    def __len__(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all photographs in one tensor, (N, 3, size, size)."""
        return len(self), 3, self.size, self.size

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.read(rows)[0]

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The photographs of `rows` (n,) and their rows; the place of a damaged one is taken by the next that is not.

        Raises `InputError` where one after the other is damaged.
        """
        pictures, read = [], []
        for row in rows.tolist():
            for place in range(row, row + 100):
                row = place % len(self)
                with suppress(*files.DAMAGED, Image.DecompressionBombError):
                    pictures.append(self._picture(row))
                    read.append(row)
                    break
                self.damaged[row] = True
            else:
                raise InputError(f"a hundred pictures from {self.name(row)} on are damaged; get the file anew")
        return torch.stack(pictures), torch.tensor(read)

    def _picture(self, row: int) -> Tensor:
        data = os.pread(_opened(self._path(row)).fileno(), int(self.length[row]), int(self.start[row]))
        return square(images.decoded(data)[None], self.size)[0]

    def _path(self, row: int) -> Path:
        return self.paths[int(self.file[row])]

    def name(self, row: int) -> str:
        """Where a photograph lies: FILE.tar/MEMBER, by the header that stands before it."""
        header = os.pread(_opened(self._path(row)).fileno(), 100, int(self.start[row]) - tarfile.BLOCKSIZE)
        return f"{self._path(row)}/{header.split(bytes(1))[0].decode(errors='replace')}"

    @lru_cache(maxsize=2)  # noqa: B019 (there are one or two of these objects)
    def order(self, seed: int, epoch: int) -> np.ndarray:
        """All rows in the order of an epoch: `MIXED` files at a time, at random, and their pictures."""
        random = np.random.default_rng((seed, 1, epoch))
        group = random.permutation(len(self.paths)) // MIXED
        return np.lexsort((random.random(len(self)), group[self.file.numpy()]))


def members(path: Path) -> list[tuple[int, int, int]]:
    """Where each picture of a .tar file begins, its length in bytes and the number of its class, -1 without one.

    Those after a place where the file is damaged or ends are not found.
    """
    suffixes, found, labels, size = Image.registered_extensions(), {}, {}, path.stat().st_size
    with suppress(tarfile.TarError, OSError, ValueError), tarfile.open(path) as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            stem, _, kind = name.partition(".")
            key = folder, stem
            if f".{kind}".lower() in suffixes and member.offset_data + member.size <= size:
                found[key] = member.offset_data, member.size
            elif kind == "cls" and (file := archive.extractfile(member)):
                labels[key] = int(file.read())
    return [(*place, labels.get(key, -1)) for key, place in found.items()]


@lru_cache(maxsize=128)
def _opened(path: Path) -> IO[bytes]:
    return path.open("rb", buffering=0)


def dealt(shards: Shards, seed: int, size: int, mirrored: bool, draws: Draws) -> tuple[Tensor, Tensor]:
    """`size` photographs in the order of the epoch, half of them mirrored, if any, and places 2 · row + mirrored.

    All photographs come once an epoch; a batch may hold the end of one and the start of the next.
    """
    places = draws.places(size)
    asked = [shards.order(seed, epoch)[place] for epoch, place in zip(*divmod(places, len(shards)), strict=True)]
    x, rows = shards.read(torch.tensor(asked))
    turned = torch.from_numpy(draws.random(size) < 0.5 * mirrored)
    return torch.where(turned[:, None, None, None], x.flip(-1), x), 2 * rows + turned


class ShardData(Stream):
    """Photographs in .tar files, `SPLIT-*.tar` or `SPLIT/*.tar`, shuffled anew for every epoch and read by workers.

    Batches are images (B, 3, size, size) uint8 with their places (B,), which all processes and workers have once an
    epoch. A damaged picture gives its place to the next one; how many there were is said at the end. Raises
    `InputError` where there are none.
    """

    def __init__(
        self, root: str, size: int, batch_size: int = 64, *, seed: int = 0, workers: int = 4, mirrored: bool = True
    ) -> None:
        train = Shards(root, "train", size)
        super().__init__(partial(dealt, train, seed, batch_size, mirrored), seed, workers)
        self.train, self.root, self.size, self.batch_size = train, root, size, batch_size

    def spread(self, split: str, n: int | None = None) -> Tensor:
        """`n` images (all, if there are fewer) spread over the files, the same every time, uint8 (n, 3, S, S)."""
        found = self.train if split == "train" else Shards(self.root, split, self.size)
        return found[torch.linspace(0, len(found) - 1, min(n or len(found), len(found))).long()]

    def teardown(self, stage: str) -> None:
        """Say how many pictures were damaged, in all processes, and put it into the log."""
        trainer = cast(lightning.Trainer, self.trainer)
        rows = mean(self.train.damaged.float().to(trainer.strategy.root_device)).nonzero().flatten().tolist()
        if rows and trainer.is_global_zero:
            names = ", ".join(self.train.name(row) for row in rows[:SHOWN])
            more = ", ..." if len(rows) > SHOWN else ""
            print(f"skipped {len(rows):,} damaged pictures of {len(self.train):,}: {names}{more}", flush=True)
            for logger in trainer.loggers:
                logger.log_metrics({"skipped": len(rows)}, trainer.global_step)
