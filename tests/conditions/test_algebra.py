from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ppgn.conditions.algebra import And, Not, Or, Weighted
from ppgn.conditions.base import Condition
from ppgn.conditions.rows import EachRow
from ppgn.errors import InputError

X = torch.rand(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Bright(Condition):
    """log p = −rate · mean of one channel."""

    rate: Tensor

    def __init__(self, channel: int, rate: float) -> None:
        super().__init__()
        self.channel = channel
        self.register_buffer("rate", torch.tensor(rate, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return -self.rate * x[:, self.channel].mean((1, 2))


A, B, C = Bright(0, 1.5), Bright(1, 0.7), Bright(2, 4.0)


def gradient(condition: Callable[[Tensor], Tensor], x: Tensor = X) -> Tensor:
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(condition(x).sum(), x)
    return grad


@pytest.mark.parametrize(
    ("combined", "expected"),
    [
        (A & B, lambda a, b, c: a + b),
        (2 * A & 0.5 * B, lambda a, b, c: 2 * a + 0.5 * b),
        (A * -3, lambda a, b, c: -3 * a),
        (A & B & C, lambda a, b, c: a + b + c),
        (A | B, lambda a, b, c: math.log(math.exp(a) + math.exp(b))),
        (A | B | C, lambda a, b, c: math.log(math.exp(a) + math.exp(b) + math.exp(c))),
        (~A, lambda a, b, c: math.log(1 - math.exp(a))),
        (~~A, lambda a, b, c: a),
        (2 * (A & ~B) | 3 * C, lambda a, b, c: math.log(math.exp(2 * a) * (1 - math.exp(b)) ** 2 + math.exp(3 * c))),
        (~(A & B), lambda a, b, c: math.log(1 - math.exp(a + b))),
    ],
)
def test_values(combined: Condition, expected: Callable[[float, float, float], float]) -> None:
    values = [expected(a, b, c) for a, b, c in zip(A(X).tolist(), B(X).tolist(), C(X).tolist(), strict=True)]
    assert combined(X).tolist() == pytest.approx(values, abs=1e-12)


def test_gradient_of_a_weighted_sum_is_the_weighted_sum_of_gradients() -> None:
    torch.testing.assert_close(gradient(0.3 * A & 2.5 * B), 0.3 * gradient(A) + 2.5 * gradient(B))


def test_gradient_of_either_is_the_mixture_by_responsibility() -> None:
    share = torch.sigmoid(A(X) - B(X)).view(-1, 1, 1, 1)
    torch.testing.assert_close(gradient(A | B), share * gradient(A) + (1 - share) * gradient(B))


def test_gradient_of_repulsion_points_away_by_the_odds() -> None:
    p = A(X).exp().view(-1, 1, 1, 1)
    torch.testing.assert_close(gradient(~A), -p / (1 - p) * gradient(A))


def test_operands_are_never_changed() -> None:
    before = {name: copy.deepcopy(vars(c)) for name, c in (("a", A), ("b", B))}
    value, grad = A(X), gradient(A)
    combined = ~(2 * A & (B | 3 * A))
    combined(X)
    gradient(combined)
    combined.describe(X)
    assert torch.equal(A(X), value)
    assert torch.equal(gradient(A), grad)
    for name, condition in (("a", A), ("b", B)):
        after = vars(condition)
        assert after.keys() == before[name].keys()
        assert torch.equal(after["_buffers"]["rate"], before[name]["_buffers"]["rate"])


def test_rows_are_independent() -> None:
    combined = 2 * (A & ~B) | 3 * C
    torch.testing.assert_close(combined(X), torch.cat([combined(row[None]) for row in X]), rtol=0, atol=0)


def test_combinations_move_as_modules() -> None:
    combined = copy.deepcopy(2 * (A & ~B) | 3 * C)
    assert {name.rpartition(".")[2] for name in combined.state_dict()} == {"rate"}
    assert len(combined.state_dict()) == 3
    assert combined.float()(X.float()).dtype == torch.float32
    assert A.rate.dtype == torch.float64


def test_describe_shows_every_operand() -> None:
    rows = (2 * A & B).describe(X)
    assert len(rows) == 4
    for row, a, b in zip(rows, A(X).tolist(), B(X).tolist(), strict=True):
        assert row["log_prob"] == pytest.approx(2 * a + b)
        weighted, plain = row["terms"]
        assert plain == {"log_prob": pytest.approx(b)}
        assert weighted == {"log_prob": pytest.approx(2 * a), "terms": [{"log_prob": pytest.approx(a)}]}


def test_types() -> None:
    assert isinstance(A & B, And)
    assert isinstance(A | B, Or)
    assert isinstance(2 * A, Weighted)
    assert isinstance(~A, Not)


@pytest.mark.parametrize(
    ("operation", "left", "right"),
    [(operator.and_, A, 2), (operator.or_, A, "b"), (operator.mul, "w", A), (operator.mul, A, B)],
)
def test_only_conditions_combine_and_only_numbers_weigh(
    operation: Callable[[object, object], object], left: object, right: object
) -> None:
    with pytest.raises(TypeError):
        operation(left, right)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_weights_are_finite(weight: float) -> None:
    with pytest.raises(InputError, match="expected a finite number"):
        weight * A


class Sentence(Bright):
    rare = True


def test_what_one_operand_finds_rare_is_rare_but_not_its_opposite() -> None:
    sentence = Sentence(1, 0.7)
    rare = [A & sentence, 0.5 * sentence, A & (B | sentence), EachRow(A, sentence)]
    common = [A, A & B, ~sentence, A & ~sentence]
    assert [condition.rare for condition in rare] == [True] * 4
    assert [condition.rare for condition in common] == [False] * 4


def test_a_gradient_reaches_every_term_and_changes_no_operand() -> None:
    combined = 2 * (A & ~B) | EachRow(A, C)
    truncated = combined.with_gradient("truncated")
    kinds = {module.gradient for module in truncated.modules() if isinstance(module, Condition)}
    assert kinds == {"truncated"}
    assert {module.gradient for module in combined.modules() if isinstance(module, Condition)} == {"full"}
    assert torch.equal(truncated(X), combined(X))
    with pytest.raises(InputError, match="unknown gradient 'half'"):
        combined.with_gradient("half")
