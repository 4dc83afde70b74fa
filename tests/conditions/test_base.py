"""What all conditions share: log(1 − p), and any callable as a condition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.base import Plain, log1mexp
from ppgn.errors import InputError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_accurate_at_both_ends_and_never_gives_nan(dtype: torch.dtype) -> None:
    log_p = torch.tensor([-1e-3, -0.5, -math.log(2), -0.7, -5.0, -40.0, 0.0, -1e4], dtype=dtype, requires_grad=True)
    value = log1mexp(log_p)
    (grad,) = torch.autograd.grad(value.sum(), log_p)
    exact = [math.log(-math.expm1(v)) if v > -0.1 else math.log1p(-math.exp(v)) for v in log_p.tolist()[:6]]
    assert value.tolist()[:6] == pytest.approx(exact, rel=1e-6 if dtype == torch.float32 else 1e-14)
    assert value[5] < 0  # 1 − p rounds to 1, log(1 − p) does not round to 0
    assert value[6].item() == pytest.approx(math.log(torch.finfo(dtype).eps))
    assert value[7].item() == 0
    assert torch.isfinite(grad).all()
    assert grad[1].item() == pytest.approx(-math.exp(-0.5) / (1 - math.exp(-0.5)))


def mean(x: Tensor) -> Tensor:
    return x.mean((1, 2, 3))


class Mine(nn.Module):
    """A condition with all that is optional."""

    name = "mine"
    in_place = True
    rare = True

    def __init__(self, kind: str = "full") -> None:
        super().__init__()
        self.kind = kind

    def with_gradient(self, kind: str) -> Mine:
        return Mine(kind)

    def describe(self, x: Tensor) -> list[dict[str, float]]:
        return [{"log_prob": value, "half": value / 2} for value in self(x).tolist()]

    def forward(self, x: Tensor) -> Tensor:
        return -mean(x)


def test_a_callable_is_a_condition_that_offers_what_it_has_itself() -> None:
    x = torch.rand(2, 3, 4, 4)
    plain, mine = Plain(mean), Plain(Mine())
    assert (plain.name, plain.in_place, plain.describe(x)) == (
        "mean",
        False,
        [{"log_prob": v} for v in mean(x).tolist()],
    )
    assert (mine.name, mine.in_place) == ("mine", True)
    assert (plain & mine).in_place
    assert (plain.rare, mine.rare) == (False, True)
    assert mine.describe(x)[0].keys() == {"log_prob", "half"}
    (combined,) = (~mine).with_gradient("truncated").terms
    assert (combined.body.kind, mine.body.kind) == ("truncated", "full")
    torch.testing.assert_close((~mine)(x), torch.log1p(-mine(x).exp()))
    with pytest.raises(InputError, match="cannot be a int"):
        Plain(7)
