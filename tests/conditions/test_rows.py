"""Every row by its own condition, against the conditions alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppgn.conditions.base import Condition
from ppgn.conditions.rows import EachRow, each_row
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers.noise import Noise
from ppgn.samplers.views import Jitter
from tests.tiny import TinyGenerator


class Brightness(Condition):
    """log p = −k · the mean over pixels."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return -self.k * x.mean((1, 2, 3))


def grey(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).double()


def test_each_row_has_its_condition_and_views_follow_batch_after_batch() -> None:
    rows = EachRow(Brightness(1), Brightness(10))
    assert rows(grey(0.5, 0.2)).tolist() == pytest.approx([-0.5, -2.0])
    assert rows(grey(0.5, 0.2, 0.1, 0.4)).tolist() == pytest.approx([-0.5, -2.0, -0.1, -4.0])
    assert [said["log_prob"] for said in rows.describe(grey(0.5, 0.2, 0.1, 0.4))] == pytest.approx([-0.5, -2, -0.1, -4])
    expected = torch.cat([(~Brightness(1))(grey(0.5)), (~Brightness(10))(grey(0.2))])
    torch.testing.assert_close((~rows)(grey(0.5, 0.2)), expected)


def test_chains_of_different_conditions_are_those_of_each_alone() -> None:
    generator, noise = TinyGenerator(), Noise([3, 4], dtype=torch.float64)
    h = noise.normal("init", (5,))
    views = Jitter(2, 0.25, 1.5)
    both = Posterior(generator, Gaussian(), EachRow(Brightness(1), Brightness(10)), views).evaluate(h, noise)
    for row, k in enumerate((1, 10)):
        alone = Noise([3 + row], dtype=torch.float64)
        alone.normal("init", (5,))
        found = Posterior(generator, Gaussian(), Brightness(k), views).evaluate(h[[row] * 2], Twice(alone))
        torch.testing.assert_close(both.condition_grad[row], found.condition_grad[0])


class Twice:
    """One seed's noise for two equal rows."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.seeds = noise, noise.seeds * 2

    def normal(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        return self.noise.normal(stream, shape).repeat(2, *[1] * len(shape))

    def uniform(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        return self.noise.uniform(stream, shape).repeat(2, *[1] * len(shape))


def test_one_condition_for_all_rows_stays_itself() -> None:
    one, other = Brightness(1), Brightness(2)
    assert each_row([one, one]) is one
    assert isinstance(each_row([one, other]), EachRow)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="3 rows for 2 conditions"):
        EachRow(Brightness(1), Brightness(2))(grey(0, 0, 0))
    with pytest.raises(InputError, match="no conditions"):
        EachRow()
