"""Questions about units: who answers them rightly, and what is drawn but once."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.units import activations
from ppgn.evaluation.visualisations import Quiz, occluded, ranked, visualisations
from ppgn.model import PPGN
from tests.evaluation.conftest import grey, store
from tests.evaluation.test_units import of_units

CONDITION = {
    "_target_": "ppgn.conditions.unit.Unit",
    "network": {"_target_": "ppgn.networks.imagenet.load", "name": "efficientnet_lite1", "size": 32},
}
FEW: dict[str, Any] = {"layers": ["blocks.0.0.bn1"], "count": 2, "n": 12, "queries": 2, "evaluations": 2, "side": 32}
FEW |= {"device": "cpu", "seeds": "0", "classes": ["junco", "pizza"], "judges": ["efficientnet_lite0"]}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    store(tmp_path / "photos", torch.randint(256, (24, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte())
    return tmp_path / "photos"


def test_the_highest_the_middle_and_the_lowest() -> None:
    values = torch.tensor([[3.0, 0, 5, 0, 1, 4, 2]])
    found = ranked(values, 2)
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "high": [[2, 5]],
        "median": [[0, 6]],
        "bottom": [[1, 3]],
    }


def test_grey_squares_lie_in_corners_and_between() -> None:
    found = occluded(grey(0, 255, side=10))
    assert found.shape == (2, 9, 3, 10, 10)
    assert all(int((found[row, place, 0] == 128).sum()) == 16 for row in range(2) for place in range(9))
    assert (found[0, 0, :, :4, :4] == 128).all()
    assert (found[1, 8, :, -4:, -4:] == 128).all()
    assert (found[1, 8, :, :6] == 255).all()


def test_pictures_like_what_excites_a_unit_answer_all_and_their_opposite_none() -> None:
    features = torch.eye(6)
    quiz = Quiz(torch.zeros(6), 2)
    quiz.ask("", features, torch.tensor([[9.0, 8, 2, 1, 0, -1], [-1.0, 0, 1, 2, 8, 9]]))
    told = quiz.answers(torch.stack([features[:2], features[4:]]))
    assert told["bottom"].tolist() == told["median"].tolist() == [1, 1]
    assert quiz.answers(torch.stack([features[4:], features[:2]]))["bottom"].tolist() == [0, 0]
    assert quiz.answers(torch.ones(2, 1, 6))["bottom"].tolist() == [0.5, 0.5]


def test_a_square_on_what_excites_a_unit_makes_a_photograph_less_like_its_pictures() -> None:
    (unit,) = of_units(("first", 0))  # the mean of red
    pictures = torch.zeros(12, 3, 16, 16, dtype=torch.uint8)
    pictures[:, 0, :6, :6] = 255  # red in a corner, so that a square there takes most of it away
    quiz = Quiz(torch.zeros(2), 2)

    def corner_and_rest(x: Tensor) -> Tensor:
        red = x[:, 0].float() / 255
        return torch.stack([red[:, :6, :6].mean((1, 2)), 1 - red[:, :6, :6].mean((1, 2))], 1)

    quiz.occlude([lambda x: activations([unit], x)[:, 0]], pictures, torch.ones(1, 12), corner_and_rest)
    assert quiz.answers(torch.tensor([[[1.0, 0]]]))["occlusion"].tolist() == [1]
    assert quiz.answers(torch.tensor([[[0, 1.0]]]))["occlusion"].tolist() == [0]


def test_rows_tell_scores_and_how_far_ppgn_is_apart(model: PPGN, photographs: Path) -> None:
    table = visualisations(
        model, data=photographs, others=photographs, condition=CONDITION, systems=["ppgn", "lucid"], **FEW
    )
    assert list(table.rows) == [
        *("ppgn", "lucid", "photographs 1", "photographs 2", "photographs 9", "random"),
        *("ppgn - lucid", "ppgn - photographs 1", "ppgn - photographs 2", "ppgn - photographs 9"),
    ]
    row = table.rows["ppgn"]
    scores = ["bottom", "median", "occlusion", "other bottom", "other median", "above", "kid"]
    assert list(row) == [*scores, "efficientnet_lite0 top1", "efficientnet_lite0 top5"]
    apart, each = table.rows["ppgn - lucid"], table.facts["ppgn"]["units"]
    assert list(apart) == scores
    for key in ("bottom", "kid", "above"):
        expected = [table.rows[name][key] for name in ("ppgn", "lucid")]
        assert apart[key].value == pytest.approx(expected[0].value - expected[1].value, abs=1e-6)  # type: ignore[union-attr]
    assert len(each) == 2
    assert set(table.facts["ppgn - lucid"]["p"]) == {*scores} - {"kid"}
    assert table.about["excited"].keys() == {"blocks.0.0.bn1"}


def test_what_is_drawn_is_not_drawn_again_unless_otherwise(
    model: PPGN, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    room = importlib.import_module("ppgn.evaluation.visualisations")
    draw = room.Draw.__call__
    given = {**FEW, "data": photographs, "condition": CONDITION, "systems": ["pixels"], "out": tmp_path / "out"}
    given["judges"] = []

    def counted(self: Any, system: str, *rest: Any) -> Tensor:
        drawn.append(system)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        found: Tensor = draw(self, system, *rest)
        return found

    monkeypatch.setattr(room.Draw, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        visualisations(model, **given)
    first = visualisations(model, **given)  # goes on after the unit that was drawn
    assert len(drawn) == 3
    assert visualisations(model, **given, overwrite=True).rows == first.rows
    assert len(drawn) == 3
    visualisations(model, **{**given, "evaluations": 3}, overwrite=True)
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"systems": ["macco"]}, "maco"),
        ({"sampler": "ppgn"}, "its own"),
        ({"queries": 5}, "n=15"),
        ({"count": 33}, "smaller count"),
        ({"evaluations": 1}, "evaluations"),
        ({"layers": ["blocks.99"]}, "blocks.99"),
        ({"classes": ["goldfisch", "pizza"]}, "goldfish"),
    ],
)
def test_bad_input_is_one_line(model: PPGN, photographs: Path, more: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word) as error:
        visualisations(model, **{**FEW, "condition": CONDITION, "data": photographs, **more})
    assert "\n" not in str(error.value)


def test_facets_are_of_the_photographs_that_excite_a_unit(model: PPGN, photographs: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    given = {**FEW, "seeds": "0-1", "judges": [], "data": photographs, "condition": CONDITION}
    table = visualisations(model, systems=["facets"], **given)
    row = table.rows["facets"]
    assert list(row) == ["bottom", "median", "occlusion", "above", "kid"]
    assert table.grids["grid_facets"].width > 0


def test_the_command_line_gives_the_same(check_same: Callable[..., None]) -> None:
    words = {"count": 2, "n": 10, "queries": 2, "evaluations": 2, "side": 32, "seeds": "0", "data": "photos"}
    lists: dict[str, Sequence[str]] = {
        "layers": ["blocks.0.0.bn1"],
        "systems": ["lucid"],
        "judges": ["efficientnet_lite0"],
    }
    lists |= {"classes": ["junco", "pizza"]}
    typed = [*(f"{key}={value}" for key, value in words.items()), *(f"{k}=[{','.join(v)}]" for k, v in lists.items())]
    check_same(evaluation.visualisations, ["condition.network.size=32", *typed], condition=CONDITION, **words, **lists)
    assert json.loads(Path("typed/evaluation.json").read_text())["excited"]
