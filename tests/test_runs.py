"""A run's samples as a folder: what is written, read again and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ppgn import paths, shards
from ppgn.contracts import Samples
from ppgn.errors import InputError
from ppgn.media.medium import Signals
from ppgn.runs import Run
from tests.tiny import TinyCondition


class Bright(TinyCondition):
    name = "bright"

    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        return [{"log_prob": value, "prob": 0.5} for value in images.mean((1, 2, 3)).log().tolist()]


def samples(seeds: tuple[int, ...], shape: tuple[int, ...] = (3, 4, 4)) -> Samples:
    drawn = torch.rand(len(seeds), *shape, generator=torch.Generator().manual_seed(sum(seeds)))
    count = len(seeds)
    return Samples(drawn, torch.ones(count, 5), torch.zeros(count), seeds, (0,) * count, (7,) * count)


def run(folder: Path | None, settings: dict[str, Any] | None = None, medium: Any = None) -> Run:
    about = {"condition": "c", "target": "bright", "model": "m"}
    return Run(folder, {"target": "bright"}, settings or {"target": "bright"}, [Bright(0)], about, medium)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    first.add(first.part(samples((3, 1)), 14), 2.0)
    first.save()
    second = run(tmp_path)
    second.load()
    assert second.walked == (3, 1)
    assert (second.seconds, second.rows, second.report()["chain_steps_per_second"]) == (2.0, first.rows, 7.0)
    assert torch.equal(second.images, first.images)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["seed"] for row in report["samples"]] == [3, 1]
    assert report["mean_prob"] == 0.5


def test_pictures_are_stored_as_bytes_and_signals_as_they_are(tmp_path: Path) -> None:
    pictures, waves = run(tmp_path / "a"), run(tmp_path / "b", medium=Signals())
    pictures.add(pictures.part(samples((1,)), 1), 1.0)
    waves.conditions = (TinyCondition(0),)
    drawn = samples((1,), (2, 50))
    negative = Samples(drawn.signals - 5, drawn.codes, drawn.log_prob, (1,), (0,), (7,))
    waves.add(waves.part(negative, 1), 1.0)
    for one in (pictures, waves):
        one.save()
    assert load_file(tmp_path / "a" / "samples.safetensors")["images"].dtype == torch.uint8
    assert torch.equal(load_file(tmp_path / "b" / "samples.safetensors")["signals"], negative.signals)
    assert waves.images.dtype == torch.uint8
    assert (tmp_path / "b" / "grid.png").exists()


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    first = run(tmp_path)
    first.add(first.part(samples((1,)), 1), 1.0)
    first.save()
    with pytest.raises(InputError, match='target was "bright", now it is "dark"'):
        run(tmp_path, {"target": "dark"}).load()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"samples\.safetensors"):
        run(tmp_path).load()


def test_a_run_without_a_folder_is_saved_where_one_is_named(tmp_path: Path) -> None:
    one = run(None)
    one.add(one.part(samples((1,)), 1), 1.0)
    with pytest.raises(InputError, match="folder"):
        one.save()
    one.save(tmp_path / "later")
    names = ["config.yaml", "grid.png", "images", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in (tmp_path / "later").iterdir()) == names


def test_what_is_said_of_a_run_names_its_folder_if_it_has_one(tmp_path: Path) -> None:
    for folder, end in ((None, "mean p(bright) 0.50"), (tmp_path, f" 0.50 -> {tmp_path}")):
        done = run(folder)
        done.add(done.part(samples((0, 1)), 2), 1.0)
        assert done.summary().endswith(end)


def test_many_samples_go_into_shards_that_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST", 8)
    one, twin = run(tmp_path), run(None)
    written: list[str] = []
    write = paths.write
    monkeypatch.setattr(paths, "write", lambda path, data: (written.append(path.name), write(path, data))[1])
    for first in range(0, 21, 3):
        for each in (one, twin):
            each.add(each.part(samples((first, first + 1, first + 2)), 3), 1.0)
    assert sum(bool(part.held) for part in one.parts) <= 3  # no more than a shard's is in memory
    one.save()
    twin.save(tmp_path / "twin")
    assert written.count("samples-00000.safetensors") == 2  # once in each folder
    names = ["config.yaml", "grid.png", "index.json", "report.json", "report.jsonl"]
    names += [f"samples-0000{number}.safetensors" for number in range(4)]
    for folder in (tmp_path, tmp_path / "twin"):
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == names
        report = json.loads((folder / "report.json").read_text())
        assert (report["seed_count"], report["sample_count"], report["samples"]) == (21, 21, "report.jsonl")
        assert report["mean_log_prob"] == pytest.approx(sum(row["log_prob"] for row in twin.rows) / 21)
        assert [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()] == twin.rows
    entries = json.loads((tmp_path / "index.json").read_text())["shards"]
    assert [entry["rows"] for entry in entries] == [6, 6, 6, 3]
    assert one.seeds == tuple(range(21))
    assert torch.equal(one.codes, twin.codes)


def test_a_large_run_goes_on_in_its_last_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST", 8)
    for _ in range(2):
        one = run(tmp_path)
        one.load()
        start = len(one)
        for seed in range(start, start + 11):
            one.add(one.part(samples((seed,)), 3), 1.0)
        if start:
            one = run(tmp_path)  # killed before it has saved
            one.load()
        one.save()
    assert one.walked == tuple(range(22))
    assert one.seconds == 22
    assert [part.count for part in one.parts] == [8, 8, 6]
    assert not list(tmp_path.glob("batch-*"))


def test_a_batch_of_many_samples_is_split_between_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST", 8)
    one, seeds = run(tmp_path), tuple(seed for seed in range(5) for _ in range(3))
    one.add(one.part(samples(seeds), 30), 2.0)
    one.save()
    assert [part.walked for part in one.parts] == [(0, 1), (2, 3), (4,)]
    assert (one.seconds, one.seeds) == (2.0, seeds)


def test_up_to_64_pictures_have_files_of_their_own(tmp_path: Path) -> None:
    one, other = run(tmp_path), run(tmp_path)
    one.add(one.part(samples(tuple(range(3))), 1), 1.0)
    one.save()
    (tmp_path / "images" / "mine.png").touch()
    assert len(list((tmp_path / "images").iterdir())) == 4
    one.add(one.part(samples(tuple(range(3, 65))), 1), 1.0)
    one.save()
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["mine.png"]
    other.add(other.part(samples((7,)), 1), 1.0)
    other.folder = None
    other.save(tmp_path, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["mine.png", "seed-0007.png"]


def test_memory_does_not_grow_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST", 16)
    one, held = run(tmp_path), []
    for seed in range(100):
        one.add(one.part(samples((seed,)), 1), 1.0)
        held.append(sum(part.count for part in one.parts if part.held))
    assert max(held) <= 16


def test_another_folder_with_results_is_not_overwritten_unasked(tmp_path: Path) -> None:
    one, other = run(tmp_path), run(None)
    for each in (one, other):
        each.add(each.part(samples((1,)), 1), 1.0)
    one.save()
    one.save()
    with pytest.raises(InputError, match="overwrite=true"):
        other.save(tmp_path)
    other.save(tmp_path, overwrite=True)
