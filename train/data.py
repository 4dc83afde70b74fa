"""Training images: whole sets as uint8 tensors in memory, or folders of pictures read by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ppgn.photographs import Photographs, square

EVERYTHING = 2**40


class Stream(IterableDataset[Any]):
    """Endless batches. Number n depends on the seed, the rank and n alone.

    A run that is resumed at step n so sees what it would have seen.
    """

    def __init__(self, batch_size: int, seed: int = 0, rank: int = 0, start: int = 0) -> None:
        self.batch_size, self.seed, self.rank, self.start = batch_size, seed, rank, start

    def batch(self, n: int) -> Any:
        """Batch number `n`."""
        raise NotImplementedError

    def random(self, n: int) -> np.random.Generator:
        """The random numbers of batch number `n`."""
        return np.random.default_rng((self.seed, self.rank, n))

    def __iter__(self) -> Iterator[Any]:
        n = self.start
        while True:
            yield self.batch(n)
            n += 1


class BatchStream(Stream):
    """Shuffled uint8 images (B, 3, H, W) from images held in memory, half of them mirrored, on the same device."""

    def __init__(self, images: Tensor, *place: int, **more: int) -> None:
        super().__init__(*place, **more)
        self.images = images

    def batch(self, n: int) -> Any:
        """Batch number `n`."""
        return self.placed(n)[0]

    def placed(self, n: int) -> tuple[Tensor, Tensor]:
        """Batch number `n` and the place of each image, 2 · row + mirrored, (B,)."""
        rng = self.random(n)
        rows = torch.from_numpy(rng.integers(len(self.images), size=self.batch_size)).to(self.images.device)
        mirrored = torch.from_numpy(rng.random(self.batch_size) < 0.5).to(self.images.device)
        x = self.images[rows]
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x), 2 * rows + mirrored


class PlacedStream(BatchStream):
    """The batches of a `BatchStream` with the places of their images, by which codes of them are kept."""

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        """Batch number `n` and the places (B,)."""
        return self.placed(n)


def steps_done(module: lightning.LightningModule) -> int:
    """How many steps a module has trained for, over all its resumptions; Lightning counts each optimiser's."""
    return int(module.get_buffer("steps_done"))


def endless(data: lightning.LightningDataModule, stream: Stream) -> DataLoader[Any]:
    """The batches of `stream` for the process and the step that the training of `data` has reached."""
    if data.trainer is not None:
        stream.rank, stream.start = data.trainer.global_rank, steps_done(data.trainer.lightning_module)
    return DataLoader(stream, batch_size=None)


class StreamData(lightning.LightningDataModule):
    """The batches of one stream to train on."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless batches."""
        return endless(self, self.stream)


class ArrayData(lightning.LightningDataModule):
    """Sets stored as `NAME/{train,val}_images.npy`, uint8 (N, S, S, 3), joined and held in memory.

    `on_device` keeps them on the accelerator, so that no loader stands between the data and the networks.
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
    ) -> None:
        super().__init__()
        self.folders, self.batch_size = [Path(root) / name for name in names], batch_size
        self.seed, self.on_device, self.limit = seed, on_device, limit

    def photographs(self, split: str) -> Photographs:
        """All photographs of a split. Raises `InputError` naming a folder that is missing or holds something else."""
        return Photographs.find(self.folders, split, limit=self.limit)

    def images(self, split: str) -> Tensor:
        """All of a split, uint8 (N, 3, S, S). Raises `InputError` unless they are of one size."""
        return self.photographs(split).all()

    @cached_property
    def train(self) -> Tensor:
        """The training images, (N, 3, S, S) uint8, read once."""
        return self.images("train")

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless batches, (B, 3, S, S) uint8 and places (B,)."""
        images = self.train
        if self.on_device and self.trainer is not None:
            images = images.to(self.trainer.strategy.root_device)
        return endless(self, PlacedStream(images, self.batch_size, self.seed))

    def spread(self, split: str, n: int) -> Tensor:
        """`n` images (all, if there are fewer) spread over all sets, the same every time, uint8 (n, 3, S, S)."""
        found = self.photographs(split)
        return found.all() if n >= len(found) else found.spread(n, found[0].shape[-1])


class Pictures(Dataset[Tensor]):
    """Photographs cropped to squares and resized, uint8 (3, size, size), half of them mirrored."""

    def __init__(self, photographs: Photographs, size: int) -> None:
        self.photographs, self.size = photographs, size

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, row: int) -> Tensor:
        picture = square(self.photographs[row][None], self.size)[0]
        return picture.flip(-1) if torch.rand(()) < 0.5 else picture


class FolderData(lightning.LightningDataModule):
    """Pictures below `root/{train,val}/`, read by workers, cropped to squares and resized to `size`.

    Raises `InputError` where there are none.
    """

    def __init__(self, root: str, size: int, batch_size: int = 32, *, workers: int = 4) -> None:
        super().__init__()
        self.root, self.size, self.batch_size, self.workers = root, size, batch_size, workers

    def train_dataloader(self) -> DataLoader[Tensor]:
        """One epoch of batches (B, 3, size, size) uint8."""
        return DataLoader(
            Pictures(Photographs.find(self.root, "train"), self.size),
            self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def spread(self, split: str, n: int) -> Tensor:
        """`n` images (all, if there are fewer) spread over the folders, the same every time, uint8 (n, 3, S, S)."""
        found = Photographs.find(self.root, split)
        return found.spread(min(n, len(found)), self.size)
