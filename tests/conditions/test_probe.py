"""What a look at a condition finds before the first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.base import Plain
from ppgn.conditions.context import Anything, Context
from ppgn.conditions.probe import probe
from ppgn.conditions.rows import EachRow
from ppgn.errors import InputError
from tests.tiny import TinyCondition

SHAPE = (3, 4, 4)


def mean(x: Tensor) -> Tensor:
    return x.mean((1, 2, 3))


def test_conditions_that_chains_can_follow_pass() -> None:
    for condition in (TinyCondition(1), TinyCondition(1, truncated=True), Plain(mean), Anything()):
        assert probe(condition, SHAPE, dtype=torch.float64) is None
    rows = EachRow(*(Plain(mean) for _ in range(3))) & Plain(mean)
    context = Context(torch.rand(3, 3, 4, 4), torch.ones(3, 1, 4, 4))
    waves = Plain(lambda x: x.square().sum(1))  # of signals of another kind
    for condition, shape in ((rows, SHAPE), (context, SHAPE), (waves, (7,))):
        assert probe(condition, shape) is None


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (lambda x: x.mean(), r"one number each, \(2,\)"),
        (lambda x: x.mean((2, 3)), r"one number each, \(2,\)"),
        (lambda x: mean(x).tolist(), "list"),
        (lambda x: mean(x).long(), "int64"),
        (lambda x: mean(x).log() - torch.inf, "finite"),
        (lambda x: mean(x).detach(), "differentiated"),
        (lambda x: x.flatten(1).argmax(1).float(), "differentiated"),
        (lambda x: mean(x) - mean(x).mean(), "one row"),
        (lambda x: mean(x - x.detach()).sqrt(), "not finite"),
        (nn.Linear(7, 1), "fails on signals"),
        (lambda x: x["pixels"], "fails on signals"),
    ],
)
def test_any_other_is_one_line(body: Callable[[Tensor], Tensor], word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        probe(Plain(body), SHAPE)
    assert "\n" not in str(caught.value)


def test_training_mode_is_told() -> None:
    body = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0))
    with pytest.raises(InputError, match="evaluation mode"):
        probe(Plain(body), SHAPE)
    probe(Plain(body.eval()), SHAPE)


def test_an_activation_in_place_that_breaks_the_gradient_is_one_line() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.sigmoid()
            z = y.square()
            y.add_(1)
            return mean(z)

    with pytest.raises(InputError, match="InPlace fails"):
        probe(Plain(InPlace()), SHAPE)
