"""Searches for units, on the scale of photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.search import search
from ppgn.model import PPGN
from ppgn.search.searching import Search
from tests.evaluation.conftest import grey, store

CONDITION = {
    "_target_": "ppgn.conditions.unit.Unit",
    "network": {"_target_": "ppgn.networks.imagenet.load", "name": "efficientnet_lite1", "size": 32},
}
FEW = {"layers": ["blocks.0"], "count": 2, "n": 6, "generations": 3, "population": 4, "device": "cpu"}


def test_photographs_are_one_and_searches_tell_what_they_reached(model: PPGN, tmp_path: Path) -> None:
    store(tmp_path / "photos", torch.randint(256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte())
    given = {**FEW, "condition": CONDITION, "data": tmp_path / "photos", "steps": 2, "sampler": "annealed"}
    table = search(model, systems=["genetic", "gradient", "random"], **given)
    assert list(table.rows) == ["genetic", "gradient", "random", "photographs"]
    best = table.rows["photographs"]["activation"]
    assert best is not None
    assert best.value == pytest.approx(1, abs=1e-5)
    found = table.rows["random"]
    assert set(found) == {"activation", "kid", "reached", "evaluations", "length", "seconds"} - {"seconds"}
    evaluations, length = found["evaluations"], found["length"]
    assert evaluations is not None
    assert length is not None
    assert 1 <= evaluations.value <= 12
    assert 0.3 < length.value < 2
    rows = table.facts["genetic"]["units"]
    assert [row["unit"].split()[0] for row in rows] == ["blocks.0", "blocks.0"]
    assert all(row["reached"] or row["evaluations"] == 12 for row in rows)
    assert search(model, systems=["random"], **given).rows["random"] == found
    assert table.grids["grid_genetic"].width > 2 * 256  # large enough for captions


def test_what_is_searched_is_not_searched_again_unless_otherwise(
    model: PPGN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "photos", grey(*range(12)))
    given: dict[str, Any] = {**FEW, "condition": CONDITION, "data": tmp_path / "photos", "out": tmp_path / "out"}
    given["systems"] = ["random"]
    told: list[int] = []
    tell = Search.tell

    def counted(self: Search, scores: torch.Tensor) -> None:
        told.append(len(scores))
        if len(told) == 5:
            raise KeyboardInterrupt
        tell(self, scores)

    monkeypatch.setattr(Search, "tell", counted)
    with pytest.raises(KeyboardInterrupt):
        search(model, **given)
    first = search(model, **given)  # goes on after the unit whose three generations were told
    assert len(told) == 5 + 3
    assert search(model, **given, overwrite=True).rows == first.rows
    assert len(told) == 8
    half = search(model, **given, overwrite=True, precision="bfloat16")
    assert len(told) == 14
    lengths = [table.rows["random"]["length"] for table in (first, half)]
    assert lengths[0] is not None
    assert lengths[1] is not None
    assert lengths[1].value == pytest.approx(lengths[0].value, abs=0.3)  # the same codes, another of them the best


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"systems": ["cmeas"]}, "cmaes"),
        ({"seeds": "0-1"}, "one seed"),
        ({"count": 1}, "count"),
        ({"precision": "half"}, "float32"),
    ],
)
def test_bad_input_is_one_line(model: PPGN, tmp_path: Path, more: dict[str, object], word: str) -> None:
    store(tmp_path / "photos", grey(*range(12)))
    with pytest.raises(InputError, match=word):
        search(model, **{**FEW, "condition": CONDITION, "data": tmp_path / "photos", **more})  # type: ignore[arg-type]


def test_the_command_line_gives_the_same(check_same: Callable[..., None]) -> None:
    words = {"layers": ["blocks.0"], "count": 2, "n": 4, "data": "photos", "generations": 2, "population": 4}
    typed = ["condition.network.size=32", *(f"{key}={value}" for key, value in words.items() if key != "layers")]
    check_same(
        evaluation.search,
        [*typed, "layers=[blocks.0]", "systems=[random]"],
        condition=CONDITION,
        systems=["random"],
        **words,
    )
