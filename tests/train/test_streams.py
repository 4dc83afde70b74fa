"""Photographs in .tar files: each once an epoch whoever reads, the same again when resumed, damaged ones skipped."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.errors import InputError
from train import streams
from train.data import Endless
from train.shares import Share
from train.streams import ShardData, Shards, dealt

SIDE, EACH, FILES = 4, 6, 5
COUNT = EACH * FILES


def picture(number: int, kind: str = "PNG", side: int = SIDE) -> bytes:
    """Red tells the number, green grows to the right."""
    array = np.zeros((side, side, 3), np.uint8)
    array[..., 0], array[..., 1] = number, np.arange(side)
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind)
    return data.getvalue()


def write(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(FILES):
        rows = range(number * EACH, (number + 1) * EACH)
        members = {f"{row:04d}.{kind}": data for row in rows
                   for kind, data in (("png", picture(row)), ("cls", str(row % 3).encode()))}  # fmt: skip
        write(tmp_path / f"train-{number:05d}.tar", members)
    write(tmp_path / "val-00000.tar", {f"{row}.png": picture(200 + row) for row in range(3)})
    return tmp_path


def damage(root: Path, row: int) -> None:
    """Overwrite a picture by zeros."""
    shards = Shards(root, "train", SIDE)
    with shards.paths[row // EACH].open("r+b") as file:
        file.seek(int(shards.start[row]))
        file.write(bytes(int(shards.length[row])))


def rows(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    """The photographs of batches, by what the pictures show, which their places must tell too."""
    for x, places in batches:
        assert torch.equal(x[:, 0, 0, 0].int(), (places // 2).int())
        assert torch.equal(x[:, 1, 0, 0] > x[:, 1, 0, -1], places % 2 == 1)
    return [int(x) for batch, _ in batches for x in batch[:, 0, 0, 0]]


def stream(root: Path, size: int, share: Share | None = None, start: int = 0, seed: int = 1) -> Endless:
    return Endless(partial(dealt, Shards(root, "train", SIDE), seed, size, True), seed, start, share)


def test_every_photograph_comes_once_an_epoch_in_an_order_of_its_own(root: Path) -> None:
    seen = rows([*islice(stream(root, 7), 30 * 3 // 7 + 1)])
    epochs = [seen[start : start + COUNT] for start in range(0, 3 * COUNT, COUNT)]
    assert all(sorted(epoch) == [*range(COUNT)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, [*range(COUNT)]]}) == 4
    assert rows([*islice(stream(root, 7, seed=2), 4)]) != seen[:28]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one_without_overlap_and_loss(root: Path, world: int) -> None:
    """Whatever the number of files is; 30 / (3 * 4) is no whole number either."""
    whole = [*islice(stream(root, 4 * world), 10)]
    for rank in range(world):
        for (x, places), (own, at) in zip(whole, stream(root, 4, Share(rank, world)), strict=False):
            assert torch.equal(own, x[rank::world])
            assert torch.equal(at, places[rank::world])


def test_a_stream_that_goes_on_in_mid_epoch_gives_what_it_would_have_given(root: Path) -> None:
    whole = [*islice(stream(root, 4), 12)]
    for start in (1, 5, 9):
        for (x, places), (own, at) in zip(whole[start:], stream(root, 4, start=start), strict=False):
            assert torch.equal(own, x)
            assert torch.equal(at, places)


def test_workers_change_nothing(root: Path) -> None:
    data = ShardData(str(root), SIDE, 4, seed=1, workers=2)
    for (x, places), (own, at) in zip(islice(data.train_dataloader(), 9), stream(root, 4), strict=False):
        assert torch.equal(own, x)
        assert torch.equal(at, places)


def test_files_are_read_a_few_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MIXED", 2)
    order = Shards(root, "train", SIDE).order(0, 0) // EACH
    groups = [set(order[start : start + 2 * EACH].tolist()) for start in range(0, COUNT, 2 * EACH)]
    assert [len(group) for group in groups] == [2, 2, 1]
    assert sorted(file for group in groups for file in group) == [*range(FILES)]


def test_damaged_pictures_give_their_places_to_the_next_and_are_told_at_the_end(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root, 3)
    damage(root, 4)
    data = ShardData(str(root), SIDE, 5, seed=1, workers=2)
    seen = Counter(rows([*islice(data.train_dataloader(), COUNT // 5)]))
    assert seen == Counter({row: 3 if row == 5 else 1 for row in range(COUNT) if row not in (3, 4)})
    logged: list[dict[str, float]] = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append(metrics))
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(root_device="cpu"), is_global_zero=True, loggers=[logger], global_step=6
    )
    data.trainer = trainer
    data.teardown("fit")
    said = capsys.readouterr().out
    names = ", ".join(f"{root}/train-00000.tar/000{row}.png" for row in (3, 4))
    assert said == f"skipped 2 damaged pictures of 30: {names}\n"
    assert logged == [{"skipped": 2}]
    clean = ShardData(str(root), SIDE, 5, workers=0)
    clean.trainer = trainer
    clean.teardown("fit")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_cut_off_or_damaged_between_pictures_gives_those_before(root: Path) -> None:
    place = int(Shards(root, "train", SIDE).start[4])
    with (root / "train-00000.tar").open("r+b") as file:
        file.truncate(place + 10)
    with (root / "train-00001.tar").open("r+b") as file:
        file.seek(place - tarfile.BLOCKSIZE)
        file.write(b"\xff" * tarfile.BLOCKSIZE)
    shards = Shards(root, "train", SIDE)
    expected = [*range(4), *range(6, 10), *range(12, 30)]
    assert shards[torch.arange(len(shards))][:, 0, 0, 0].tolist() == expected


def test_where_nothing_can_be_read_it_is_said(root: Path) -> None:
    for row in range(COUNT):
        damage(root, row)
    shards = Shards(root, "train", SIDE)
    with pytest.raises(InputError, match=r"damaged; get the file anew"):
        shards[torch.tensor([7])]


def test_the_index_is_kept_and_made_anew_for_other_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Shards(root, "train", SIDE).label.tolist() == [row % 3 for row in range(COUNT)]
    read: list[Path] = []
    original = streams.members
    monkeypatch.setattr(streams, "members", lambda path: read.append(path) or original(path))
    assert Shards(root, "train", SIDE).label.tolist() == [row % 3 for row in range(COUNT)]
    assert read == []
    write(root / "train-00009.tar", {"a.png": picture(99)})
    assert len(Shards(root, "train", SIDE)) == COUNT + 1
    assert len(read) == FILES + 1
    (root / "train-index.safetensors").write_text("damaged")
    assert len(Shards(root, "train", SIDE)) == COUNT + 1


def test_files_of_other_programs(tmp_path: Path) -> None:
    """Names with folders and dots, pictures of any size and kind, whatever else a sample has, or no class."""
    members = {"a.b/x.JPG": picture(0, "JPEG", 40), "a.b/x.json": b"{}", "y.seg.png": b"none", "y.png": picture(9)}
    write(tmp_path / "deep" / "imagenet-train-000.tar", {**members, "y.cls": b"7"})
    write(tmp_path / "deep" / "imagenet-val-000.tar", {"z.webp": picture(5, "WEBP")})
    shards = Shards(tmp_path, "train", 8)
    assert shards.label.tolist() == [-1, 7]
    assert shards[torch.tensor([1, 0])].shape == (2, 3, 8, 8)
    assert shards[torch.tensor([1])][0, 0].unique().tolist() == [9]
    assert len(Shards(tmp_path, "val", 8)) == 1


def test_a_few_are_spread_over_all(root: Path) -> None:
    data = ShardData(str(root), SIDE, workers=0)
    assert data.spread("train", 3)[:, 0, 0, 0].tolist() == [0, 14, 29]
    assert data.spread("val")[:, 0, 0, 0].tolist() == [200, 201, 202]
    assert data.spread("val", 50).shape == (3, 3, SIDE, SIDE)


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.tar files in .*ppgn train pack data=FOLDER out="):
        ShardData(str(tmp_path), SIDE)
    write(tmp_path / "train-0.tar", {"a.txt": b"text"})
    with pytest.raises(InputError, match="no pictures"):
        ShardData(str(tmp_path), SIDE)
