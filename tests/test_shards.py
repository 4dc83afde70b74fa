"""Samples in a folder as one sequence: read in pieces, checked, exported, and while a run goes on."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import ppgn
from ppgn import files, shards
from ppgn.errors import InputError
from ppgn.media.medium import Signals
from ppgn.runs import Run
from tests.test_runs import run, samples


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST", 8)


def drawn(folder: Path, seeds: range = range(21), job: str = "", medium: Any = None) -> Run:
    one = run(folder, medium=medium)
    one.job = job
    for seed in seeds:
        one.add(one.part(samples((seed,)), 7), 1.0)
    return one


def test_it_is_a_sequence_that_is_read_when_asked_for(tmp_path: Path) -> None:
    one = drawn(tmp_path)
    one.save()
    stored = ppgn.open_samples(tmp_path)
    assert len(stored) == 21
    assert [row["seed"] for row in stored] == list(range(21)) == list(one.seeds)
    assert stored[-1]["seed"] == 20
    assert torch.equal(stored[9]["image"], one.images[9])
    assert torch.equal(stored[5:19].codes, one.codes[5:19])
    assert stored[5:19].seeds == tuple(range(5, 19))
    assert stored[::-5].seeds == (20, 15, 10, 5, 0)
    assert len(stored[4:4]) == len(stored[30:]) == 0
    with pytest.raises(IndexError):
        stored[21]
    batch = next(iter(DataLoader(pickle.loads(pickle.dumps(stored)), batch_size=4, shuffle=False)))
    assert batch["image"].shape == (4, 3, 4, 4)
    assert batch["seed"].tolist() == [0, 1, 2, 3]
    stored.check()


def test_a_folder_can_be_read_while_jobs_write_into_it(tmp_path: Path) -> None:
    first = drawn(tmp_path, range(0, 20, 2), "1of2")
    second = drawn(tmp_path, range(1, 8, 2), "2of2")
    assert sorted(row["seed"] for row in shards.open_samples(tmp_path)) == sorted([*range(0, 20, 2), *range(1, 8, 2)])
    reader = shards.open_samples(tmp_path)
    second.save()
    first.save()
    assert sorted(row["seed"] for row in shards.open_samples(tmp_path)) == sorted([*range(0, 20, 2), *range(1, 8, 2)])
    with pytest.raises(InputError, match="open the folder again"):
        list(reader)


def test_two_jobs_of_an_array_and_a_reader_at_once(tmp_path: Path) -> None:
    out, root = tmp_path / "8", Path(__file__).resolve().parents[1]  # shards of 8
    code = "import sys; from pathlib import Path; from tests.kills import draw; draw(Path(sys.argv[1]), shard='slurm')"
    environment = {**os.environ, "PYTHONPATH": str(root), "SLURM_ARRAY_TASK_COUNT": "2"}
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, out], env=environment | {"SLURM_ARRAY_TASK_ID": str(task)})
        for task in range(2)
    ]
    seen: dict[int, torch.Tensor] = {}
    looks = 0
    while any(job.poll() is None for job in jobs):
        with suppress(InputError):  # nothing yet, or joined while it was being read
            rows = list(ppgn.open_samples(out))
            looks += bool(rows)
            assert len({row["seed"] for row in rows}) == len(rows) >= len(seen)
            seen = {row["seed"]: row["code"] for row in rows}
    assert [job.returncode for job in jobs] == [0, 0]
    assert looks
    stored = ppgn.open_samples(out)
    stored.check()
    codes = {row["seed"]: row["code"] for row in stored}
    assert sorted(row["seed"] for row in stored) == list(range(18))
    assert all(torch.equal(codes[seed], code) for seed, code in seen.items())


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_seed_counts_once_wherever_a_run_was_interrupted(tmp_path: Path, kept: int) -> None:
    """Files that were joined into a shard are still there."""
    drawn(tmp_path, range(3)).save()
    alone = (tmp_path / "samples.safetensors").read_bytes()
    one = drawn(tmp_path / "b", range(12))
    one.save()
    for path in filter(Path.is_file, (tmp_path / "b").iterdir()):
        path.replace(tmp_path / path.name)
    if kept:
        (tmp_path / "samples.safetensors").write_bytes(alone)
    if kept == 2:
        (tmp_path / "index.json").unlink()
    drawn(tmp_path / "c", range(2))
    (tmp_path / "c" / "batch-00001.safetensors").replace(tmp_path / "batch-00001.safetensors")
    assert [row["seed"] for row in shards.open_samples(tmp_path)] == list(range(12))
    again = run(tmp_path)
    again.load()
    again.save()
    assert again.seeds == tuple(range(12))
    names = ["samples-00000.safetensors", "samples-00001.safetensors"]
    assert [path.name for path in shards.results(tmp_path, "samples", "batch")] == names


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_samples_are_exported_with_what_is_said_of_them(tmp_path: Path, kind: str) -> None:
    one = drawn(tmp_path)
    one.save()
    place = shards.open_samples(tmp_path).export(kind)
    if kind == "webdataset":
        assert sorted(path.name for path in place.iterdir()) == [f"samples-0000{n}.tar" for n in range(3)]
        with tarfile.open(place / "samples-00001.tar") as archive:
            found = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    else:
        found = {path.name: path.read_bytes() for path in place.iterdir()}
        assert len(found) == 2 * 21
    picture = np.asarray(Image.open(io.BytesIO(found["seed00000009-0.png"])))
    assert torch.equal(torch.tensor(picture).permute(2, 0, 1), one.images[9])
    assert json.loads(found["seed00000009-0.json"]) == one.rows[9]


def test_signals_are_exported_as_arrays(tmp_path: Path) -> None:
    one = drawn(tmp_path, range(2), medium=Signals())
    one.save()
    place = shards.open_samples(tmp_path).export("folder", tmp_path / "elsewhere")
    assert np.array_equal(np.load(place / "seed00000001-0.npy"), one.signals[1].numpy())
    with pytest.raises(InputError, match="webdataset"):
        shards.open_samples(tmp_path).export("tar")


def broken(path: Path, change: Any) -> None:
    tensors, metadata = files.load(path, shards.FORMAT)
    change(tensors, metadata)
    files.save(path, tensors, metadata.pop("format"), **metadata)


DAMAGE: dict[str, Any] = {
    "a column that is shorter": lambda t, m: t.update(codes=t["codes"][1:]),
    "a column that is gone": lambda t, m: t.pop("log_prob"),
    "rows that are no JSON": lambda t, m: t.update(rows=torch.full((9,), 91, dtype=torch.uint8)),
    "rows that are none": lambda t, m: t.update(rows=torch.tensor(list(b"1\n2\n3"), dtype=torch.uint8)),
    "deep rows": lambda t, m: t.update(rows=torch.full((100_000,), 91, dtype=torch.uint8)),
    "a number that is text": lambda t, m: m["progress"].update(seconds="1"),
    "seeds that are none": lambda t, m: m["progress"].update(walked=[None]),
    "sums that are none": lambda t, m: m["progress"].update(sums=[]),
    "means of nothing": lambda t, m: m["progress"].update(sums={"prob": None}),
    "a count of others": lambda t, m: m["progress"].update(count=5),
    "no progress": lambda t, m: m.pop("progress"),
    "settings that are a list": lambda t, m: m.update(settings=[1]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    drawn(tmp_path, range(3)).save()
    broken(tmp_path / "samples.safetensors", DAMAGE[damage])
    with pytest.raises(InputError, match=r"samples\.safetensors"):
        run(tmp_path).load()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"shards": [{"file": "samples-00000.safetensors"}]}'])
def test_a_damaged_index_is_named(tmp_path: Path, text: str) -> None:
    drawn(tmp_path).save()
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match=r"index\.json"):
        shards.open_samples(tmp_path)


def test_what_the_index_lists_is_there_and_as_it_was_written(tmp_path: Path) -> None:
    drawn(tmp_path).save()
    path = tmp_path / "samples-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"samples-00001.*damaged"):
        shards.open_samples(tmp_path).check()
    path.unlink()
    with pytest.raises(InputError, match=r"samples-00001.*gone"):
        shards.open_samples(tmp_path)
    with pytest.raises(InputError, match="no samples"):
        shards.open_samples(tmp_path / "nowhere")
