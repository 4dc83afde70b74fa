"""Training images: whole sets as uint8 tensors in memory, or folders of pictures read by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from ppgn.errors import InputError
from ppgn.photographs import Photographs, square
from train.shares import Share


class Draws:
    """What is drawn for the rows of batch number `n` that a process has, from `seed`, `n` and their places there."""

    def __init__(self, seed: int, n: int, share: Share) -> None:
        self.n, self.share, self._random = n, share, np.random.default_rng((seed, 0, n))

    def integers(self, end: int, size: int) -> np.ndarray:
        """Whole numbers from 0 to below `end`, (size,)."""
        return np.asarray(self.share.of(partial(self._random.integers, 0, end), size))

    def random(self, size: int) -> np.ndarray:
        """Numbers in [0, 1), (size,)."""
        return np.asarray(self.share.of(self._random.random, size))

    def places(self, size: int) -> np.ndarray:
        """The places of the rows among those of all batches, each of which has as many, (size,)."""
        return np.asarray(self.share.of(lambda shape: self.n * shape[0] + np.arange(shape[0]), size))


class Endless(IterableDataset[Any]):
    """What `batch` makes of the draws of batch number `start`, of the next, and so on, dealt to a loader's workers."""

    def __init__(self, batch: Callable[[Draws], Any], seed: int, start: int = 0, share: Share | None = None) -> None:
        self.batch, self.seed, self.start, self.share = batch, seed, start, share or Share()

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for n in count(self.start + first, step):
            yield self.batch(Draws(self.seed, n, self.share))


class Stream(lightning.LightningDataModule):
    """Endless batches to train on. Number n depends on `seed`, n and the share of the process alone.

    A run that is resumed at step n so sees what it would have seen, and several processes see what one would see.
    """

    def __init__(self, batch: Callable[[Draws], Any], seed: int = 0, workers: int = 0) -> None:
        super().__init__()
        self.batch, self.seed, self.workers = batch, seed, workers

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process from the step on that the training has reached."""
        start = 0 if self.trainer is None else int(self.trainer.lightning_module.get_buffer("steps_done"))
        batches = Endless(self.batch, self.seed, start, Share.own())
        return DataLoader(batches, batch_size=None, num_workers=self.workers)


def shuffled(images: Tensor | Sizes, size: int, random: Draws, mirrored: bool = True) -> tuple[Tensor, Tensor]:
    """`size` of the images (N, 3, H, W), half of them mirrored, if any, and places 2 · row + mirrored, (size,)."""
    rows = torch.from_numpy(random.integers(len(images), size)).to(images.device)
    turned = torch.from_numpy(random.random(size) < 0.5 * mirrored).to(images.device)
    x = images[rows]
    return torch.where(turned[:, None, None, None], x.flip(-1), x), 2 * rows + turned


class Sizes:
    """Sets of images, uint8 (N, C, S, S), as one of side `size`: those of half of it are enlarged, each pixel to four.

    `GeneratorTraining` compares such images at the size that they have. Raises `InputError` for other sizes, and where
    no set has the whole one.
    """

    def __init__(self, sets: Sequence[Tensor], size: int) -> None:
        self.sets, self.shape = list(sets), (sum(map(len, sets)), sets[0].shape[1], size, size)
        sides = [images.shape[-1] for images in sets]
        self._halves = torch.cat([torch.full((len(images),), images.shape[-1] < size) for images in sets])
        strange = [side for side in sides if side not in (size, size / 2)]
        if strange:
            reason = f"a set has images of {strange[0]} pixels"
            raise InputError(f"data.size={size}: {reason}; leave it out, or set data.size={min(sides)}")
        if size not in sides:
            raise InputError(f"data.size={size}: no set has images as large; set data.size={max(sides)}")

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def __getitem__(self, rows: Tensor) -> Tensor:
        found = self.sets[0].new_empty(len(rows), *self.shape[1:])
        start = 0
        for images in self.sets:
            here = (rows >= start) & (rows < start + len(images))
            times = self.shape[-1] // images.shape[-1]
            found[here] = images[rows[here] - start].repeat_interleave(times, 2).repeat_interleave(times, 3)
            start += len(images)
        return found

    def coarse(self, rows: Tensor) -> Tensor:
        """Which of the images in `rows` (B,) have half the size, (B,)."""
        return self._halves[rows.cpu()].to(rows.device)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.sets[0].device

    def to(self, device: torch.device) -> Sizes:
        """The same on a device."""
        return Sizes([images.to(device) for images in self.sets], self.shape[-1])


class ArrayData(Stream):
    """Sets stored as `NAME/{train,val}_images.npy`, uint8 (N, S, S, 3), joined and held in memory (`Sizes`).

    Those larger than `size`, which sets of several sizes need, are reduced to it. `on_device` keeps them on the
    accelerator, so that no loader stands between the data and the networks. Batches are `shuffled` images (B, 3, S, S)
    uint8, their places (B,) and, where some have half the size, which of them, (B,); of grey sets (N, S, S, 1) they are
    (B, 1, S, S). Raises `InputError` naming a folder that is missing or holds something else.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        batch_size: int = 32,
        *,
        seed: int = 0,
        on_device: bool = False,
        limit: int | None = None,
        mirrored: bool = True,
        size: int | None = None,
    ) -> None:
        super().__init__(self._shuffled, seed)
        self.mirrored = mirrored
        self.folders, self.batch_size = [Path(root) / name for name in names], batch_size
        self.on_device, self.limit, self.size = on_device, limit, size

    def photographs(self, split: str) -> Photographs:
        """All photographs of a split."""
        return Photographs.find(self.folders, split, limit=self.limit)

    @cached_property
    def train(self) -> Tensor | Sizes:
        """The training images, (N, 3, S, S) uint8, read once."""
        return self._read("train")

    def _read(self, split: str) -> Tensor | Sizes:
        found = self.photographs(split)
        sides = sorted({array.shape[1] for _, array in found.sets})
        if self.size is None and len(sides) > 1:
            reason = f"the sets have images of {' and '.join(map(str, sides))} pixels"
            raise InputError(f"{reason}; set data.size={sides[0]}, or store them at one size")
        if self.size is None or sides == [self.size]:
            return found.all()
        sets = [Photographs.find(folder, split, limit=self.limit).all() for folder in self.folders]
        sets = [square(images, self.size) if images.shape[-1] > self.size else images for images in sets]
        whole = all(images.shape[-1] == self.size for images in sets)
        return torch.cat(sets) if whole else Sizes(sets, self.size)

    def _shuffled(self, random: Draws) -> tuple[Tensor, ...]:
        x, places = shuffled(self.train, self.batch_size, random, self.mirrored)
        return (x, places, self.train.coarse(places // 2)) if isinstance(self.train, Sizes) else (x, places)

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless batches."""
        if self.on_device and self.trainer is not None:
            self.train = self.train.to(self.trainer.strategy.root_device)
        return super().train_dataloader()

    def spread(self, split: str, n: int | None = None) -> Tensor:
        """`n` images (all, if there are fewer) spread over all sets, the same every time, uint8 (n, 3, S, S)."""
        found = self.photographs(split)
        if n is None or n >= len(found):
            images = self._read(split)
            return images if isinstance(images, Tensor) else images[torch.arange(len(found))]
        if self.size is not None and any(array.shape[1] < self.size for _, array in found.sets):
            return self._read(split)[torch.tensor(found.rows(n))]
        return found.spread(n, self.size or found[0].shape[-1])


def squares(pictures: Sequence[Tensor], size: int) -> Tensor:
    """Photographs cropped to squares and resized, uint8 (B, 3, size, size), half of them mirrored."""
    cropped = [square(picture[None], size)[0] for picture in pictures]
    return torch.stack([picture.flip(-1) if torch.rand(()) < 0.5 else picture for picture in cropped])


class FolderData(lightning.LightningDataModule):
    """Pictures below `root/{train,val}/`, read by workers, cropped to squares and resized to `size`.

    Raises `InputError` where there are none.
    """

    def __init__(self, root: str, size: int, batch_size: int = 32, *, workers: int = 4) -> None:
        super().__init__()
        self.root, self.size, self.batch_size, self.workers = root, size, batch_size, workers

    def train_dataloader(self) -> DataLoader[Tensor]:
        """One epoch of batches (B, 3, size, size) uint8."""
        photographs = cast("Dataset[Tensor]", Photographs.find(self.root, "train"))
        how: dict[str, Any] = {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        how |= {"shuffle": True, "drop_last": True, "collate_fn": partial(squares, size=self.size)}
        return DataLoader(photographs, self.batch_size, **how)

    def spread(self, split: str, n: int | None = None) -> Tensor:
        """`n` images (all, if there are fewer) spread over the folders, the same every time, uint8 (n, 3, S, S)."""
        found = Photographs.find(self.root, split)
        return found.spread(min(n or len(found), len(found)), self.size)
