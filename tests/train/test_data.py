"""Training images: batches that depend on seed, rank and number alone, and a few of them spread over the sets."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.errors import InputError
from train.data import ArrayData, Draws, Endless, FolderData, Stream, shuffled
from train.shares import Share


def images(n: int, side: int = 4) -> torch.Tensor:
    return torch.arange(n * 3 * side * side, dtype=torch.uint8).view(n, 3, side, side)


def test_batches_depend_on_seed_and_number_alone() -> None:
    batch = partial(shuffled, images(5), 64)
    seventh, eighth = (x for x, _ in islice(Endless(batch, seed=3, start=7), 2))
    assert torch.equal(next(islice(Endless(batch, seed=3), 7, None))[0], seventh)
    assert not any(torch.equal(other, seventh) for other in (eighth, next(iter(Endless(batch, 4, start=7)))[0]))


def test_two_processes_have_every_other_row_of_the_batch_that_one_would_have() -> None:
    (whole, places), *_ = islice(Endless(partial(shuffled, images(5), 64), seed=3, start=7), 1)
    for rank in (0, 1):
        part, own = next(iter(Endless(partial(shuffled, images(5), 32), 3, 7, Share(rank, 2))))
        assert torch.equal(part, whole[rank::2])
        assert torch.equal(own, places[rank::2])


def test_workers_give_the_batches_in_order() -> None:
    stream = Stream(partial(shuffled, images(5), 4), seed=3)
    expected = [x for x, _ in islice(Endless(stream.batch, 3), 5)]
    stream.workers = 2
    found = [x for x, _ in islice(stream.train_dataloader(), 5)]
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


def test_images_are_mirrored_half_of_the_time_and_their_places_say_which() -> None:
    x = images(5)
    batch, places = shuffled(x, 200, Draws(1, 0, Share()))
    assert torch.equal(batch, torch.stack([x[p // 2].flip(-1) if p % 2 else x[p // 2] for p in places.tolist()]))
    assert 60 < int((places % 2).sum()) < 140
    assert set(places.tolist()) == set(range(10))


def test_a_stream_is_a_datamodule() -> None:
    batch = partial(shuffled, images(3), 2)
    first = next(iter(Stream(batch, 4).train_dataloader()))
    assert torch.equal(first[0], next(iter(Endless(batch, 4)))[0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, start in (("a", 0), ("b", 100)):
        (tmp_path / name).mkdir()
        for split in ("train", "val"):
            array = (
                np.arange(start, start + 6, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
            )
            np.save(tmp_path / name / f"{split}_images.npy", array)
    return tmp_path


def test_sets_are_joined_and_spread(root: Path) -> None:
    data = ArrayData(str(root), ["a", "b"], batch_size=5, seed=2)
    assert data.spread("train")[:, 0, 0, 0].tolist() == [*range(6), *range(100, 106)]
    assert data.spread("val", 4)[:, 0, 0, 0].tolist() == [0, 3, 101, 105]
    assert len(data.spread("val", 1000)) == 12
    batch, places = next(iter(data.train_dataloader()))
    assert batch.shape == (5, 3, 8, 8)
    assert torch.equal(batch[:, 0, 0, 0], data.train[places // 2, 0, 0, 0])
    assert len(ArrayData(str(root), ["a", "b"], limit=2).spread("train")) == 4


def test_sets_that_do_not_fit_are_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        ArrayData(str(root), ["nowhere"]).spread("train")
    np.save(root / "b" / "train_images.npy", np.zeros((2, 3, 3, 3), np.uint8))
    with pytest.raises(InputError, match=r"images of 3 and 8 pixels; set data\.size=3, or store them at one size"):
        ArrayData(str(root), ["a", "b"]).spread("train")
    with pytest.raises(
        InputError, match=r"data\.size=8: a set has images of 3 pixels; leave it out, or set data\.size=3"
    ):
        ArrayData(str(root), ["a", "b"], size=8).spread("train")
    with pytest.raises(InputError, match=r"data\.size=16: no set has images as large; set data\.size=8"):
        _ = ArrayData(str(root), ["a"], size=16).train


def test_larger_images_are_reduced(root: Path) -> None:
    np.save(root / "b" / "train_images.npy", np.full((2, 4, 4, 3), 7, np.uint8))
    data = ArrayData(str(root), ["a", "b"], size=4)
    assert data.train.shape == (8, 3, 4, 4)
    assert data.train[:, 1, 2, 3].tolist() == [*range(6), 7, 7]
    assert torch.equal(data.spread("train"), data.train)
    assert torch.equal(data.spread("train", 3), data.train[[0, 3, 7]])
    assert data.spread("val", 2).shape == (2, 3, 4, 4)


def test_images_of_half_the_size_are_enlarged_and_said_to_be_coarse(root: Path) -> None:
    small = np.random.default_rng(0).integers(0, 255, (5, 4, 4, 3), dtype=np.uint8)
    np.save(root / "b" / "train_images.npy", small)
    data = ArrayData(str(root), ["a", "b"], batch_size=40, seed=2, size=8)
    x, places, coarse = next(iter(data.train_dataloader()))
    assert x.shape == (40, 3, 8, 8)
    assert torch.equal(coarse, places // 2 >= 6)
    assert 0 < int(coarse.sum()) < 40
    for row, place in zip(x, places.tolist(), strict=True):
        if place // 2 < 6:
            assert row.unique().tolist() == [place // 2]
        else:
            stored = torch.from_numpy(small[place // 2 - 6]).permute(2, 0, 1)
            stored = stored.flip(-1) if place % 2 else stored
            assert torch.equal(row[:, ::2, ::2], stored)
            assert torch.equal(torch.nn.functional.avg_pool2d(row.float(), 2), stored.float())
    assert torch.equal(data.spread("train")[6:, :, 1::2, 1::2], torch.from_numpy(small).permute(0, 3, 1, 2))
    assert data.spread("train", 3)[:, 0, 0, 0].tolist() == [0, 5, int(small[4, 0, 0, 0])]


def test_folders_of_pictures(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(4):
            folder = tmp_path / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 12), (50 * number, 0, 0)).save(folder / f"{number}.png")
    data = FolderData(str(tmp_path), 8, 2, workers=0)
    batches = list(data.train_dataloader())
    assert [batch.shape for batch in batches] == [(2, 3, 8, 8)] * 2
    assert sorted(int(x[0, 0, 0]) for batch in batches for x in batch) == [0, 50, 100, 150]
    assert data.spread("val", 2)[:, 0, 4, 4].tolist() == [0, 150]
    with pytest.raises(InputError, match="no "):
        FolderData(str(tmp_path / "nowhere"), 8).spread("val", 2)


def test_signals_that_run_one_way_are_not_mirrored(root: Path) -> None:
    batch, places = shuffled(images(5), 200, Draws(1, 0, Share()), mirrored=False)
    assert torch.equal(batch, images(5)[places // 2])
    assert not (places % 2).any()
    stream = ArrayData(str(root), ["a", "b"], batch_size=50, mirrored=False)
    assert not (next(iter(stream.train_dataloader()))[1] % 2).any()
