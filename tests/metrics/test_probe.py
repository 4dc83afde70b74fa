"""A linear probe against its optimality condition and classes that a line separates."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.metrics.probe import Probe

pytest.importorskip("sklearn")


def test_is_the_penalised_maximum_of_the_likelihood() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(60, 4).double() * torch.tensor([1.0, 5.0, 0.1, 2.0]) + 3, torch.arange(60) % 3
    x[:, 0] += labels
    log_p = Probe(x, labels, strength=0.5)(x)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(60))
    z = (x - x.mean(0)) / x.std(0, correction=0)
    slope, bias = torch.zeros(3, 4).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = 0.5 * F.cross_entropy(z @ slope.T + bias, labels, reduction="sum") + slope.square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    expected = (z @ slope.T + bias).log_softmax(1).detach().float()
    torch.testing.assert_close(log_p, expected, atol=2e-3, rtol=0)


def test_learns_what_a_line_separates() -> None:
    x = torch.tensor([[-2.0, 0.0], [-1.0, 1.0], [1.0, 0.0], [2.0, 1.0]])
    assert Probe(x, [0, 0, 1, 1], strength=10)(torch.tensor([[-5.0, 3.0], [5.0, 3.0]])).argmax(1).tolist() == [0, 1]


def test_labels_that_do_not_fit_are_refused() -> None:
    for labels in ([0, 0, 0], [0, 2, 2], [0, 1]):
        with pytest.raises(InputError, match="linear probe: 3 rows"):
            Probe(torch.rand(3, 2), labels)
