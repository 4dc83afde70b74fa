"""Conditions combined in words: what binds how, what is built, and what is said of words that make no sense."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppgn.conditions import words
from ppgn.conditions.base import Condition
from ppgn.conditions.words import Leaf
from ppgn.errors import InputError

P = {"a": 0.1, "b": 0.2, "c": 0.3}


class Constant(Condition):
    """log p, whatever the image is."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.log_p = math.log(p)

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), self.log_p, dtype=torch.float64)


def value(text: str) -> float:
    """exp of what a combination of constants says."""

    def make(leaf: Leaf) -> Condition:
        assert leaf.target is not None
        return Constant(P[leaf.target])

    condition = words.build(words.parse(text), make)
    return condition(torch.zeros(1, 3, 1, 1)).exp().item()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("imagenet:a", 0.1),
        ("imagenet:a & places:b", 0.1 * 0.2),
        ("imagenet:a | places:b", 0.1 + 0.2),
        ("~imagenet:a", 0.9),
        ("~~imagenet:a", 0.1),
        ("0.5*imagenet:a", 0.1**0.5),
        ("-2 * imagenet:a", 0.1**-2),
        (".5*2e0*imagenet:a", 0.1),
        ("imagenet:a | imagenet:b & imagenet:c", 0.1 + 0.2 * 0.3),
        ("(imagenet:a | imagenet:b) & imagenet:c", (0.1 + 0.2) * 0.3),
        ("imagenet:a & imagenet:b & imagenet:c", 0.1 * 0.2 * 0.3),
        ("~imagenet:a & imagenet:b", 0.9 * 0.2),
        ("~(imagenet:a & imagenet:b)", 1 - 0.1 * 0.2),
        ("2*~(imagenet:a|imagenet:b)&imagenet:c", 0.7**2 * 0.3),
    ],
)
def test_operators_bind_as_in_python(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("imagenet:great white shark & places:sea", [Leaf("imagenet", "great white shark"), Leaf("places", "sea")]),
        ("imagenet:jack-o'-lantern|imagenet:3", [Leaf("imagenet", "jack-o'-lantern"), Leaf("imagenet", "3")]),
        ("imagenet:'a & (b)' & ~places:\"it's\"", [Leaf("imagenet", "a & (b)"), Leaf("places", "it's")]),
        ("(imagenet & places : apartment_building/outdoor )",
         [Leaf("imagenet", None), Leaf("places", "apartment_building/outdoor")]),
        ("imagenet:a, b", [Leaf("imagenet", "a, b")]),
    ],
)  # fmt: skip
def test_targets_are_taken_as_they_are(text: str, expected: list[Leaf]) -> None:
    assert words.leaves(words.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("imagenet:a &", "at its end"),
        ("& imagenet:a", "at '& imagenet:a'"),
        ("(imagenet:a", "at its end"),
        ("imagenet:a) & places:b", r"at '\) & places:b'"),
        ("imagenet:a places:b ~ imagenet:c", "at '~ imagenet:c'"),
        ("imagenet:a*0.5", r"at '\*0.5'"),
        ("imagenet: & places:b", "at ': & places:b'"),
        ("0.5 imagenet:a", "at '0.5 imagenet:a'"),
        ("()", r"at '\)'"),
        ("imagenet.load(3)", r"at '.load\(3\)'"),
    ],
)
def test_says_where_it_stops_making_sense(text: str, where: str) -> None:
    with pytest.raises(InputError, match=f"^cannot read condition=.* {where}; expected NAME:TARGET"):
        words.parse(text)


def test_an_unknown_condition_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown condition 'imagnet'; nearest: imagenet"):
        words.parse("places:beach & imagnet:castle")


@pytest.mark.parametrize(
    ("text", "is_one"), [("imagenet", False), ("imagnet", False), (" places:sea", True), ("~places", True)]
)
def test_a_plain_name_is_none(text: str, is_one: bool) -> None:
    assert words.is_expression(text) is is_one


OUTSIDE = """
import torch
from torch import nn
class Red(nn.Module):
    def forward(self, x):
        return x[:, 0].mean((1, 2))
class Level(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.level = float(target)
    def forward(self, x):
        return -(x.mean((1, 2, 3)) - self.level).square()
"""
X = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "words_outside", raising=False)
    for name in ("words_outside.py", "deeper-in/words_outside.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(OUTSIDE)


def red(x: Tensor) -> Tensor:
    return x[:, 0].mean((1, 2))


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("name", ["words_outside:Red", "words_outside.py:Red", "./deeper-in/words_outside.py:Red"])
def test_classes_from_outside_take_part(name: str) -> None:
    torch.testing.assert_close(words.condition(name)(X), red(X))
    combined = words.condition(f"2*{name} & ~words_outside:Level:0.5|{name.partition(':')[0]}:Level: '0.25'")
    level = -(X.mean((1, 2, 3)) - torch.tensor([[0.5], [0.25]])).square()
    expected = torch.logaddexp(2 * red(X) + torch.log1p(-level[0].exp()), level[1])
    torch.testing.assert_close(combined(X), expected)


@pytest.mark.usefixtures("outside")
def test_an_open_target_is_asked_and_any_other_refused() -> None:
    tenth, half = words.conditions("words_outside:Red & words_outside.py:Level", ["0.1", 0.5])  # type: ignore[list-item]
    torch.testing.assert_close(half(X) - tenth(X), words.condition("words_outside:Level:0.5")(X)
                               - words.condition("words_outside:Level", 0.1)(X))  # type: ignore[arg-type]  # fmt: skip
    for what, target, word in (
        ("words_outside:Level", None, "nothing to draw"),
        ("imagenet", None, "nothing to draw"),
        ("words_outside:Red", "lion", "not asked for"),
        ("words_outside:Red:lion & words_outside:Level", "1", "takes no target"),
        (red, "lion", "not asked for"),
        ("imagenet:lion", "junco", "not asked for"),
        ("imagnet:great white shark", None, "unknown condition 'imagnet'"),
        ("imagnet", "lion", "unknown condition 'imagnet'"),
        ("words_outside:Blue", None, "no 'Blue'"),
        ("nowhere.py:Red", None, "nowhere.py"),
        ("torchscript", 3, "path"),
        (7, None, "int"),
    ):
        with pytest.raises(InputError, match=word) as caught:
            words.condition(what, target)
        assert "\n" not in str(caught.value)


def test_objects_are_conditions_and_take_part_in_the_algebra() -> None:
    plain = words.condition(red)
    torch.testing.assert_close((2 * plain & Constant(0.5))(X), 2 * red(X).double() + math.log(0.5))
    assert plain.describe(X) == [{"log_prob": value} for value in red(X).tolist()]
    constant = Constant(0.5)
    assert words.condition(constant) is constant


def test_networks_are_shared_and_settings_laid_over(tmp_path: Path) -> None:
    small = {"network.name": "timm/test_efficientnet", "network.weights": None, "network.size": 32}
    one, two = words.conditions("imagenet", ["goldfish", 3], settings=small, gradient="truncated")
    assert (one.name, two.index, one.gradient) == ("goldfish", 3, "truncated")
    assert one.network is two.network
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())
    both = {"expression": "imagenet:goldfish & ~places", "imagenet": words.building.node("condition", "imagenet")}
    both |= {"places": small | {"network.classes": 5}}
    goldfish, not_3 = words.conditions(both, [3], settings={"imagenet": small}, dtype=torch.float64)[0].terms
    assert (goldfish.name, not_3.terms[0].name) == ("goldfish", "3")
    assert goldfish(X.double()).dtype == torch.float64
    with pytest.raises(InputError, match=r"condition.places.network.weights"):
        words.condition("imagenet:1 & places:2", settings={"imagenet": small, "places": {"network.name": "timm/none"}})


def test_a_module_of_logits_is_a_classifier() -> None:
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 4))
    one, two = words.conditions(body, [1, "2"])
    assert (one.name, two.name) == ("1", "2")
    assert one.network is two.network  # type: ignore[union-attr]
    x = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(one(x), body(x).log_softmax(1)[:, 1])


def test_and_in_words_is_a_sign() -> None:
    with pytest.raises(InputError, match="& is and"):
        words.condition("imagenet:castle and imagenet:volcano")


@pytest.mark.parametrize(
    ("condition", "pattern", "expected"),
    [
        ("imagenet", "snowbird", "junco, snowbird"),
        ("imagenet", "13", "junco, snowbird"),
        ("places", "coast", "coast"),
        ("digits", "seven", "seven"),
        ("speaker", "theo", "theo"),
        ("caption", "dogs", "dogs"),
    ],
)
def test_conditions_know_what_they_can_be_asked_for(condition: str, pattern: str, expected: str) -> None:
    assert expected in [words.vocabulary(condition)[row] for row in words.find(condition, pattern)]
    assert len(words.find(condition)) == len(words.vocabulary(condition))


def test_what_is_no_class_and_what_has_none() -> None:
    with pytest.raises(InputError, match="unknown class 'goldfihs'; nearest: goldfish"):
        words.find("imagenet", "goldfihs")
    with pytest.raises(InputError, match="condition=unit has no classes of its own"):
        words.vocabulary("unit")
