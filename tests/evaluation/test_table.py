"""What a table holds, shows and writes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from ppgn.errors import InputError
from ppgn.evaluation.table import Table, plain
from ppgn.metrics.bootstrap import Estimate
from ppgn.samplers.mala import Mala


def filled(out: Path | None = None) -> Table:
    table = Table({"what": "samples", "settings": {"n": 8}}, out)
    table.add("one", {"kid": Estimate(1.5, 1.25, 1.75), "top1": None}, {"grid_one": Image.new("RGB", (4, 6))}, failed=1)
    table.add("two", {"kid": Estimate(12.345), "p": Estimate(math.nan, 0.0, math.inf)})
    table.add("three", {}, skipped="train it")
    return table


def test_columns_are_aligned_and_skipped_rows_explained() -> None:
    head, one, two, three, why = str(filled()).splitlines()
    assert head.split() == ["kid", "top1", "p"]
    assert one.split() == ["one", "1.500", "[1.250,", "1.750]", "-", "-"]
    assert two.split()[:3] == ["two", "12.3", "-"]
    assert len(head) == len(one) == len(two) == len(three)
    assert why == "three skipped: train it"
    assert repr(filled()) == "<Table samples: one, two, three>"
    assert filled().rows["one"]["kid"] == Estimate(1.5, 1.25, 1.75)


def test_markdown_has_a_bar_more_than_columns() -> None:
    lines = filled().to_markdown().splitlines()
    assert len(lines) == 5
    assert lines[1] == "|---|---|---|---|"
    assert {line.count("|") for line in lines} == {5}
    assert lines[2] == "| one | 1.500 [1.250, 1.750] | - | - |"


def test_files_hold_what_was_measured(tmp_path: Path) -> None:
    table = filled()
    assert not list(tmp_path.iterdir())
    table.save(tmp_path / "deep")
    said = json.loads((tmp_path / "deep/evaluation.json").read_text())
    assert (said["what"], said["settings"], said["interval"]) == ("samples", {"n": 8}, 0.95)
    assert set(said["versions"]) == {"ppgn", "torch", "python"}
    assert said["rows"]["one"] == {"kid": {"value": 1.5, "low": 1.25, "high": 1.75}, "top1": None, "failed": 1}
    assert said["rows"]["two"]["p"] == {"value": None, "low": 0.0, "high": None}
    assert said["rows"]["three"] == {"skipped": "train it"}
    assert Image.open(tmp_path / "deep/grid_one.png").size == (4, 6)


def test_a_table_with_a_folder_is_written_row_by_row(tmp_path: Path) -> None:
    table = Table({}, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    table.add("one", {"kid": Estimate(1.0)})
    assert list(json.loads((tmp_path / "a/evaluation.json").read_text())["rows"]) == ["one"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Table({}, tmp_path / "file/a")


def test_what_json_cannot_say_is_named() -> None:
    told = {
        "seeds": range(2),
        "judge": Image.new("RGB", (1, 1)),
        "figure": Estimate(1.0, math.inf),
        "place": (math.nan,),
    }
    figure = {"value": 1.0, "low": None, "high": None}
    assert plain(told) == {"seeds": [0, 1], "judge": "Image", "figure": figure, "place": [None]}
    sampler = plain(Mala(steps=600))
    assert (sampler["_target_"], sampler["steps"]) == ("Mala", 600)
