from __future__ import annotations

import pytest
import torch

from ppgn.conditions.context import Anything, Context
from ppgn.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
Y, X = (torch.rand(2, 3, 4, 5, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
KNOWN = torch.ones(2, 1, 4, 5, dtype=torch.float64)
KNOWN[0, :, 1:3, 1:4] = 0
KNOWN[1, :, :, 2:] = 0


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_the_value_is_the_mean_log_likelihood_of_known_pixels(likelihood: str) -> None:
    log_p = Context(Y, KNOWN, std=0.2, likelihood=likelihood, weight=3.0)(X)
    for row in range(2):
        chosen = KNOWN[row].bool().expand(3, 4, 5)
        x, y = X[row][chosen], Y[row][chosen]
        if likelihood == "gaussian":
            expected = torch.distributions.Normal(y, 0.2).log_prob(x) - torch.distributions.Normal(y, 0.2).log_prob(y)
        else:
            expected = torch.distributions.Laplace(y, 0.2).log_prob(x) - torch.distributions.Laplace(y, 0.2).log_prob(y)
        torch.testing.assert_close(log_p[row], 3 * expected.mean())


def test_units_do_not_depend_on_the_size() -> None:
    twice = torch.cat([KNOWN, KNOWN], dim=3)
    larger = Context(torch.cat([Y, Y], dim=3), twice)(torch.cat([X, X], dim=3))
    torch.testing.assert_close(larger, Context(Y, KNOWN)(X))


def test_the_hole_has_no_say_and_one_image_serves_all_rows() -> None:
    context = Context(Y[:1], KNOWN[:1])
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(context(x).sum(), x)
    assert (gradient[:, :, 1:3, 1:4] == 0).all()
    assert (gradient[:, :, 0] != 0).all()
    composite = context.composite(X)
    assert torch.equal(composite[:, :, 1:3, 1:4], X[:, :, 1:3, 1:4])
    assert torch.equal(composite[1, :, 0], Y[0, :, 0])
    (passed,) = torch.autograd.grad(context.composite(x).sum(), x)
    assert torch.equal(passed, (1 - KNOWN[:1]).expand(2, 3, 4, 5))


def test_partly_known_pixels_count_in_proportion() -> None:
    known = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    y, x = torch.zeros(1, 3, 1, 3, dtype=torch.float64), torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)
    log_p = Context(y, known, std=1.0)(x.expand(1, 3, 1, 3))
    torch.testing.assert_close(log_p, torch.tensor([-(0.5 + 0.5 * 4.5) / 1.5], dtype=torch.float64))


def test_the_published_term_is_a_sum_over_pixels_in_255_levels() -> None:
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Context.released(Y, KNOWN)(x).sum(), x)
    torch.testing.assert_close(gradient, 1e-9 * 255**2 * (Y - X) * KNOWN)


def test_it_combines_with_other_conditions() -> None:
    context = Context(Y, KNOWN)
    torch.testing.assert_close((context & 2.0 * context)(X), 3 * context(X))
    torch.testing.assert_close((context & Anything())(X), context(X))


def test_anything_asks_for_nothing() -> None:
    x = X.clone().requires_grad_()
    log_p = Anything()(x)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    assert log_p.tolist() == [0, 0]
    assert not gradient.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": "gausian"}, "unknown likelihood 'gausian'; nearest: gaussian"),
        ({"std": 0.0}, r"context: std is \[0.0\]; expected finite numbers above 0"),
        ({"weight": float("inf")}, r"context: weight is \[inf, inf\]"),
        ({"known": torch.zeros(2, 1, 4, 5)}, "the hole covers the whole image"),
        ({"known": torch.ones(2, 4, 5)}, r"expected \(N, 3, H, W\) and \(N, 1, H, W\)"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Context(**({"image": Y, "known": KNOWN} | settings))  # type: ignore[arg-type]
