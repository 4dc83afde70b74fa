from __future__ import annotations

import pytest
import torch

from ppgn.contracts import Evaluation
from ppgn.samplers import rows

X = torch.tensor([[3.0, -4.0], [0.0, 0.0]])


def test_finite_asks_every_number_of_a_row() -> None:
    broken = torch.ones(3, 2, 2)
    broken[1, 0, 1] = float("nan")
    other = torch.tensor([1.0, 2.0, float("inf")])
    assert rows.finite(broken, other).tolist() == [True, False, False]


def test_select_takes_rows() -> None:
    mask = torch.tensor([True, False])
    assert rows.select(mask, X, X + 1).tolist() == [[3, -4], [1, 1]]
    new, old = (Evaluation(image=X + k, log_condition=X[:, 0] + k, condition_grad=X, prior_residual=X) for k in (0, 1))
    chosen = rows.select_evaluation(mask, new, old)
    assert chosen.image.tolist() == [[3, -4], [1, 1]]
    assert chosen.log_condition.tolist() == [3, 1]
    assert chosen.log_prior is None
    assert "log_prior" not in rows.tensors(chosen)


def test_sizes_and_a_zero_row() -> None:
    assert rows.norm(X).tolist() == [5, 0]
    assert rows.unit_mean_abs(X).abs().mean(dim=1).tolist() == [1, 0]
    assert rows.unit_rms(X).square().mean(dim=1).tolist() == pytest.approx([1, 0])
    assert rows.per_row(torch.ones(2), torch.ones(2, 3, 4, 5)).shape == (2, 1, 1, 1)


def test_fade_multiplies_by_what_is_missing_of_p() -> None:
    log_p = torch.tensor([0.25, 1.0]).log()
    assert rows.fade(torch.ones(2, 3), log_p)[:, 0].tolist() == pytest.approx([0.75, 0])
    assert rows.fade(torch.ones(1, 3), torch.tensor([0.5])).tolist() == [[1, 1, 1]]  # no log p, as of an activation


def test_where_every_row_holds_the_new_evaluation_is_taken_as_it_is() -> None:
    new, old = (Evaluation(image=X + k, log_condition=X[:, 0] + k, condition_grad=X, prior_residual=X) for k in (0, 1))
    assert rows.select_evaluation(torch.tensor([True, True]), new, old) is new
    assert rows.select_evaluation(torch.tensor([False, False]), new, old).image.tolist() == (X + 1).tolist()
