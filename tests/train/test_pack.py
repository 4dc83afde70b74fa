"""Photographs packed into .tar files: all that can be read, with their classes, once, whatever interrupts."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn import folders
from ppgn.cli import main
from train import pack
from train.streams import Shards


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven pictures to train on, two of them not in a class and one damaged, and one held out."""
    rng = np.random.default_rng(0)
    names = [
        "train/cat/a/0.png",
        "train/cat/1.jpg",
        "train/dog/2.png",
        "train/dog/3.png",
        "train/4.png",
        "val/dog/5.png",
    ]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (12, 20, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/train/dog/6.png").write_bytes(b"none")
    (tmp_path / "photos/train/7.png").write_bytes((tmp_path / "photos/train/4.png").read_bytes()[:-300])
    return tmp_path / "photos"


def packed(data: Path, out: Path, *words: str) -> int:
    return main(["train", "pack", f"data={data}", f"out={out}", "size=8", "rows=3", *words])


def contents(out: Path) -> dict[str, bytes]:
    """All but the order of the metadata in the index of pictures, which safetensors leaves to chance."""
    return {path.name: b"" if "index.s" in path.name else path.read_bytes() for path in sorted(out.iterdir())}


def test_pictures_of_folders_lie_in_files_with_their_classes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    assert packed(photos, out) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    left = f"left out 2 that cannot be read: {photos}/train/7.png, {photos}/train/dog/6.png"
    assert said == f"6 photographs in '{out}': data=webdataset data.root={out}; {left}"
    names = ["classes.json", "index.json", *(f"train-0000{n}.tar" for n in range(3)), "train-index.safetensors"]
    assert [*contents(out)] == [*names, "val-00000.tar", "val-index.safetensors"]
    assert json.loads((out / "classes.json").read_text()) == [{"name": "cat"}, {"name": "dog"}]
    train, val = Shards(out, "train", 8), Shards(out, "val", 8)
    assert (train.label.tolist(), val.label.tolist()) == ([-1, 0, 0, 1, 1], [1])
    source = pack.Photographs.find(photos, "train").files
    for row, path in enumerate(path for path in source if path.stem not in "67"):
        expected = pack.square(pack.images.read(path)[None], 8)[0]
        assert torch.equal(train[torch.tensor([row])][0], expected)
    entries = json.loads((out / "index.json").read_text())["shards"]
    assert [(entry["rows"], len(entry["skipped"])) for entry in entries] == [(2, 1), (3, 0), (0, 1), (1, 0)]
    for entry in entries:
        assert folders.digest(out / entry["file"]) == entry["sha256"]


def test_arrays_keep_their_pixels_and_classes(tmp_path: Path) -> None:
    root = tmp_path / "sets" / "tiny"
    root.mkdir(parents=True)
    array = np.random.default_rng(0).integers(0, 255, (7, 8, 8, 3), dtype=np.uint8)
    for split, part in (("train", array[:5]), ("val", array[5:])):
        np.save(root / f"{split}_images.npy", part)
        np.save(root / f"{split}_labels.npy", np.array([2, 0, 2, 2, 0])[: len(part)])
    kinds = [{"name": "a", "imagenet_index": 5}, {"name": "b", "imagenet_index": 3}, {"name": "c", "imagenet_index": 9}]
    (root / "classes.json").write_text(json.dumps(kinds))
    assert packed(tmp_path / "sets", tmp_path / "out") == 0
    shards = Shards(tmp_path / "out", "train", 8)
    assert torch.equal(shards[torch.arange(5)], torch.from_numpy(array[:5]).permute(0, 3, 1, 2))
    names = [entry["name"] for entry in json.loads((tmp_path / "out" / "classes.json").read_text())]
    assert [names[label] for label in shards.label] == ["c", "a", "c", "c", "a"]
    told = {
        entry["name"]: entry.get("imagenet_index") for entry in json.loads((tmp_path / "out/classes.json").read_text())
    }
    assert (told["a"], told["c"]) == (5, 9)


def test_workers_write_the_same_and_jpegs_are_smaller(photos: Path, tmp_path: Path) -> None:
    assert packed(photos, tmp_path / "one") == packed(photos, tmp_path / "two", "workers=2") == 0
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {name: data for name, data in one.items() if name.endswith(".tar")} == {
        name: data for name, data in two.items() if name.endswith(".tar")
    }
    assert packed(photos, tmp_path / "jpeg", "quality=90", "size=64") == 0
    with tarfile.open(tmp_path / "jpeg" / "train-00000.tar") as archive:
        assert archive.getnames() == ["00000000.jpg", "00000002.jpg", "00000002.cls"]


def test_a_packing_goes_on_after_what_is_there(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed(photos, tmp_path / "whole") == 0
    written: list[int] = []
    write = pack.Packing.__getitem__

    def interrupted(self: pack.Packing, number: int) -> dict[str, object]:
        written.append(number)
        if written == [0, 1]:
            raise KeyboardInterrupt
        return write(self, number)

    monkeypatch.setattr(pack.Packing, "__getitem__", interrupted)
    assert packed(photos, tmp_path / "parts") == 130
    assert packed(photos, tmp_path / "parts") == 0
    assert written == [0, 1, 1, 2, 0]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    (tmp_path / "parts" / "train-00002.tar").unlink()
    assert packed(photos, tmp_path / "parts") == 0
    assert written[5:] == [2, 0]
    assert packed(photos, tmp_path / "parts") == 0
    assert len(written) == 7


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rows=2"], "holds the results of an earlier run"),
        (["resume=false"], "overwrite=true to replace them"),
        (["rows=0"], "rows=0 cannot be used"),
        (["quality=101"], "give 1 to 100, or null for PNG"),
        (["quality=good"], "quality is a whole number"),
        (["data=nowhere"], "no folder 'nowhere'"),
        (["sizes=8"], "unknown key 'sizes'; nearest: size"),
    ],
)
def test_wrong_input_is_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.json").write_text("{}")
    assert packed(photos, tmp_path / "out", *words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("ppgn: ")
    assert "\n" not in said
    assert expected in said


def test_a_folder_alone_is_told_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pack", "photos", "out=shards"]) == 2
    assert capsys.readouterr().err == "ppgn: cannot read 'photos'; expected key=value: data=photos\n"


def test_what_a_worker_cannot_write_is_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "train-00000.part").mkdir(parents=True)
    assert packed(photos, tmp_path / "out", "workers=1") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"ppgn: cannot write '{tmp_path}/out/train-00000.tar'")
    assert "Traceback" not in said


def test_another_run_in_the_folder_is_waited_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with folders.alone(tmp_path / "out"):
        assert packed(photos, tmp_path / "out") == 2
    assert "another run is at work" in capsys.readouterr().err


def test_a_folder_without_photographs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(b"none")
    assert packed(tmp_path, tmp_path / "out") == 2
    assert "no pictures in the .tar files" in capsys.readouterr().err
