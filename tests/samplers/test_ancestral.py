"""Codes from a prior alone: their distribution, and which random numbers they are made of."""

from __future__ import annotations

import torch

from ppgn.priors.gaussian import Gaussian
from ppgn.priors.mixture import Mixture
from ppgn.samplers.ancestral import draw
from ppgn.samplers.noise import Noise
from tests.samplers.quick import Quick


def test_draws_are_distributed_as_the_prior_says() -> None:
    prior = Mixture([2], 2, 0.5).double()
    prior.log_weights.copy_(torch.tensor([0.25, 0.75]).log())
    prior.means.copy_(torch.tensor([[2.0, 0.0], [-1.0, 0.5]]))
    prior.variances.copy_(torch.tensor([[0.1, 0.4], [0.3, 0.05]]))
    codes = draw(prior, (2,), Quick(4000), steps=150)
    first = codes[:, 0] > 0.9
    assert abs(float(first.double().mean()) - 0.25) < 0.03
    for k, rows in enumerate((codes[first], codes[~first])):
        torch.testing.assert_close(rows.mean(0), prior.means[k], rtol=0, atol=0.06)
        torch.testing.assert_close(rows.std(0), prior.variances[k].sqrt(), rtol=0.12, atol=0)


def test_it_walks_the_levels_that_the_prior_knows() -> None:
    narrow = Mixture([3], 1, 0.5, sigmas=[0.3, 2.0])
    assert draw(narrow, (3,), Noise([0]), steps=4).isfinite().all()
    assert draw(Gaussian(), (3,), Noise([0]), steps=4).isfinite().all()


def test_a_seed_gives_the_same_code_in_any_batch() -> None:
    prior = Mixture([3], 2, 0.5)
    prior.means.normal_(generator=torch.Generator().manual_seed(0))
    together = draw(prior, (3,), Noise([4, 5, 6]), steps=8)
    assert torch.equal(draw(prior, (3,), Noise([5]), steps=8), together[1:2])
    assert not torch.equal(together[0], together[1])
