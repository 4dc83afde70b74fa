"""Training images: whole sets as uint8 tensors in memory, or folders of pictures read by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ppgn.errors import InputError


class BatchStream(IterableDataset[Tensor]):
    """Endless shuffled uint8 batches (B, 3, H, W) from images held in memory, half of them mirrored.

    Batch number n depends on the seed, the rank and n alone, so a run resumed at step n sees what it would have seen.
    """

    def __init__(self, images: Tensor, batch_size: int, seed: int = 0, rank: int = 0, start: int = 0) -> None:
        self.images, self.batch_size, self.seed, self.rank, self.start = images, batch_size, seed, rank, start

    def batch(self, n: int) -> Tensor:
        """Batch number `n` as uint8 (B, 3, H, W) on the device that holds the images."""
        rng = np.random.default_rng((self.seed, self.rank, n))
        rows = torch.from_numpy(rng.integers(len(self.images), size=self.batch_size)).to(self.images.device)
        mirrored = torch.from_numpy(rng.random(self.batch_size) < 0.5).to(self.images.device)
        x = self.images[rows]
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)

    def __iter__(self) -> Iterator[Tensor]:
        n = self.start
        while True:
            yield self.batch(n)
            n += 1


def steps_done(module: lightning.LightningModule) -> int:
    """How many steps a module has trained for, over all its resumptions; Lightning counts each optimiser's."""
    return int(module.get_buffer("steps_done"))


class ArrayData(lightning.LightningDataModule):
    """Sets stored as `NAME/{train,val}_images.npy`, uint8 (N, S, S, 3), joined and held in memory.

    `on_device` keeps them on the accelerator, so that no loader stands between the data and the networks.
    Raises `InputError` naming the file that is missing or of another shape.
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
        self.root, self.names, self.batch_size = Path(root).expanduser(), tuple(names), batch_size
        self.seed, self.on_device, self.limit = seed, on_device, limit
        self._train: Tensor | None = None

    def _stored(self, split: str) -> list[np.ndarray]:
        """The sets of a split, as they lie on the disk."""
        parts = []
        for name in self.names:
            path = self.root / name / f"{split}_images.npy"
            if not path.is_file():
                raise InputError(f"data: no file {path}; put the set there, or set data.root and data.names")
            part = np.load(path, mmap_mode="r")
            if part.ndim != 4 or part.shape[3] != 3 or part.dtype != np.uint8:
                raise InputError(f"data: {path} holds {part.dtype} {part.shape}; expected uint8 (N, S, S, 3)")
            parts.append(part[: self.limit])
        if len({part.shape[1:] for part in parts}) > 1:
            sizes = ", ".join(f"{name} {part.shape[1]}" for name, part in zip(self.names, parts, strict=True))
            raise InputError(f"data: images of different sizes ({sizes} px); store them at one size")
        return parts

    def images(self, split: str) -> Tensor:
        """All images of a split, uint8 (N, 3, S, S); memory is laid out channels last, as stored."""
        return torch.from_numpy(np.concatenate(self._stored(split))).permute(0, 3, 1, 2)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Endless batches (B, 3, S, S) uint8."""
        if self._train is None:
            self._train = self.images("train")
        rank, start, images = 0, 0, self._train
        if self.trainer is not None:
            rank, start = self.trainer.global_rank, steps_done(self.trainer.lightning_module)
            if self.on_device:
                images = images.to(self.trainer.strategy.root_device)
        stream = BatchStream(images, self.batch_size, self.seed, rank, start)
        return DataLoader(stream, batch_size=None)

    def spread(self, split: str, n: int) -> Tensor:
        """`n` images (all, if there are fewer) spread over all sets, the same every time, uint8 (n, 3, S, S)."""
        parts = self._stored(split)
        ends = np.cumsum([len(part) for part in parts])
        rows = np.linspace(0, ends[-1] - 1, min(n, ends[-1])).astype(int)
        picked = [
            part[rows[(rows >= end - len(part)) & (rows < end)] - (end - len(part))]
            for part, end in zip(parts, ends, strict=True)
        ]
        return torch.from_numpy(np.concatenate(picked)).permute(0, 3, 1, 2)


class FolderData(lightning.LightningDataModule):
    """Pictures below `root/{train,val}/CLASS/`, read by workers, resized and centre-cropped to `size`."""

    def __init__(self, root: str, size: int, batch_size: int = 32, *, workers: int = 4) -> None:
        super().__init__()
        self.root, self.size, self.batch_size, self.workers = Path(root).expanduser(), size, batch_size, workers

    def dataset(self, split: str, *, mirror: bool) -> ImageFolder:
        """The pictures of a split as uint8 (3, size, size) tensors with their class index."""
        folder = self.root / split
        if not folder.is_dir():
            raise InputError(f"data: no folder {folder}; expected {split}/CLASS/*.jpg below data.root")
        steps = [v2.PILToTensor(), v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)]
        return ImageFolder(str(folder), v2.Compose([*steps, v2.RandomHorizontalFlip(0.5 if mirror else 0.0)]))

    def train_dataloader(self) -> DataLoader[Tensor]:
        """One epoch of batches (B, 3, size, size) uint8."""
        return DataLoader(
            self.dataset("train", mirror=True),
            self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=lambda pairs: torch.stack([image for image, _ in pairs]),
        )

    def spread(self, split: str, n: int) -> Tensor:
        """`n` images (all, if there are fewer) spread over the classes, the same every time, uint8 (n, 3, S, S)."""
        images = self.dataset(split, mirror=False)
        rows = torch.linspace(0, len(images) - 1, min(n, len(images))).long()
        return torch.stack([images[int(row)][0] for row in rows])
