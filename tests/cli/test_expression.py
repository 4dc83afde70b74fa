"""Conditions combined in words: what binds how, what is built, and what is said of words that make no sense."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgn.cli import expression
from ppgn.cli.expression import Leaf
from ppgn.conditions.base import Condition
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

    condition = expression.build(expression.parse(text), make)
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
    assert expression.leaves(expression.parse(text)) == expected


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
        expression.parse(text)


def test_an_unknown_condition_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown condition 'imagnet'; nearest: imagenet"):
        expression.parse("places:beach & imagnet:castle")


@pytest.mark.parametrize(
    ("text", "is_one"), [("imagenet", False), ("imagnet", False), (" places:sea", True), ("~places", True)]
)
def test_a_plain_name_is_none(text: str, is_one: bool) -> None:
    assert expression.is_expression(text) is is_one
