"""A run's samples as a folder: what is written, read again and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ppgn.contracts import Samples
from ppgn.errors import InputError
from ppgn.media.medium import Signals
from ppgn.runs import Run, caption, describe
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
    first.add(samples((3, 1)), seconds=2.0, chain_steps=14)
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
    pictures.add(samples((1,)), 1.0, 1)
    waves.conditions = (TinyCondition(0),)
    drawn = samples((1,), (2, 50))
    negative = Samples(drawn.signals - 5, drawn.codes, drawn.log_prob, (1,), (0,), (7,))
    waves.add(negative, 1.0, 1)
    for one in (pictures, waves):
        one.save()
    assert load_file(tmp_path / "a" / "samples.safetensors")["images"].dtype == torch.uint8
    assert torch.equal(load_file(tmp_path / "b" / "samples.safetensors")["signals"], negative.signals)
    assert waves.images.dtype == torch.uint8
    assert (tmp_path / "b" / "grid.png").exists()


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    first = run(tmp_path)
    first.add(samples((1,)), 1.0, 1)
    first.save()
    with pytest.raises(InputError, match='target was "bright", now it is "dark"'):
        run(tmp_path, {"target": "dark"}).load()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"samples\.safetensors"):
        run(tmp_path).load()


def test_its_repr_is_short_and_says_what_it_holds() -> None:
    one = run(None)
    assert "0 samples" in repr(one)
    one.add(samples((1, 2)), 1.0, 1)
    assert len(repr(one)) < 100
    assert "2 samples of bright" in repr(one)
    assert one.seeds == (1, 2)
    assert len(one) == 2


def test_a_run_without_a_folder_is_saved_where_one_is_named(tmp_path: Path) -> None:
    one = run(None)
    one.add(samples((1,)), 1.0, 1)
    with pytest.raises(InputError, match="folder"):
        one.save()
    one.save(tmp_path / "later")
    names = ["config.yaml", "grid.png", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in (tmp_path / "later").iterdir()) == names


def test_conditions_that_say_nothing_are_silent() -> None:
    pictures = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    assert describe(TinyCondition(0), pictures) == [{}, {}, {}]


def test_a_caption_is_probability_and_name() -> None:
    assert caption(Bright(0), {"log_prob": -1.0, "prob": 0.25}) == "0.25 bright"
    assert caption(Bright(0), {"log_prob": None}) == "bright"
