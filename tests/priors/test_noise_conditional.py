"""The noise-conditional prior against the posterior mean of a mixture, and the limits of its preconditioning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ppgn.contracts import NoiseConditionalPrior, Prior
from ppgn.errors import InputError
from ppgn.priors.denoiser import preconditioning
from ppgn.priors.noise_conditional import NoiseConditional
from tests.priors.training import fit, randomize

NOTHING = torch.zeros(0)
CENTRE, SPREAD = torch.tensor([0.9, -0.9]), 0.3  # two equal Gaussians around ± CENTRE; each variance is 0.9


def draw(count: int) -> Tensor:
    side = torch.randint(2, (count, 1)) * 2 - 1
    return side * CENTRE + SPREAD * torch.randn(count, 2)


def posterior_mean(h: Tensor, sigma: float) -> Tensor:
    """E[h0 | h0 + σ z = h] in closed form: Tweedie's formula on the smoothed mixture."""
    variance = SPREAD**2 + sigma**2
    side = torch.tanh(h @ CENTRE / variance)[:, None]  # P(+) − P(−)
    return side * CENTRE + SPREAD**2 / variance * (h - side * CENTRE)


@pytest.fixture(scope="module")
def trained() -> NoiseConditional:
    torch.manual_seed(0)
    prior = NoiseConditional([2], 48, 2, [0.05, 10.0], 0.5, embedding=32)
    fit(prior, draw, steps=700)
    return prior


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_a_mixtures_posterior_mean_is_learned(trained: NoiseConditional, sigma: float) -> None:
    torch.manual_seed(1)
    h = draw(500) + sigma * torch.randn(500, 2)
    expected = posterior_mean(h, sigma)
    found = h + trained.at(sigma).residual(h, NOTHING)
    assert (found - expected).square().mean().sqrt() < 0.12
    if sigma >= 0.3:
        linear = h / (1 + sigma**2)
        assert (found - expected).square().mean() < 0.5 * (linear - expected).square().mean() or sigma > 1


def test_far_noise_leads_to_the_mean(trained: NoiseConditional) -> None:
    h = 10 * torch.randn(200, 2)
    assert (h + trained.at(10.0).residual(h, NOTHING)).mean(0).abs().max() < 0.1
    assert (h + trained.at(10.0).residual(h, NOTHING)).abs().max() < 0.1 * h.abs().max()


def test_preconditioning_is_that_of_unit_variance() -> None:
    c_skip, c_out, c_in = preconditioning(torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64))
    root = math.sqrt(0.5)
    torch.testing.assert_close(
        c_skip[:, 0], torch.tensor([1.0, 0.5, 1e-12], dtype=torch.float64), rtol=1e-9, atol=1e-11
    )
    torch.testing.assert_close(c_out[:, 0], torch.tensor([1e-6, root, 1.0], dtype=torch.float64))
    torch.testing.assert_close(c_in[:, 0], torch.tensor([1.0, root, 1e-6], dtype=torch.float64))


def test_whatever_the_weights_no_noise_means_no_change() -> None:
    prior = randomize(NoiseConditional([6], 16, 2, [1e-6, 10.0], 0.5))
    h = torch.randn(4, 6)
    assert prior.at(1e-6).residual(h, NOTHING).abs().max() < 1e-4
    assert prior.at(1.0).residual(h, NOTHING).abs().max() > 0.1


def test_its_own_residual_is_that_of_its_default_level() -> None:
    prior = randomize(NoiseConditional([6], 16, 2, [0.02, 10.0], 0.5))
    h = torch.randn(4, 6)
    assert torch.equal(prior.residual(h, NOTHING), prior.at(0.5).residual(h, NOTHING))
    assert not torch.allclose(prior.residual(h, NOTHING), prior.at(0.6).residual(h, NOTHING), atol=1e-3)


def test_it_offers_what_the_contract_says() -> None:
    prior = NoiseConditional([6], 16, 2, [0.02, 10.0], 0.5)
    assert isinstance(prior, NoiseConditionalPrior)
    assert isinstance(prior.at(1.0), Prior)
    assert prior.sigmas == (0.02, 10.0)


def test_its_residual_is_differentiable() -> None:
    prior = randomize(NoiseConditional([3], 16, 1, [0.02, 10.0], 0.5)).double()
    h = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda code: prior.at(0.7).residual(code, NOTHING), h)


def test_rows_do_not_influence_each_other() -> None:
    torch.manual_seed(0)
    prior = randomize(NoiseConditional([40], 32, 2, [0.02, 10.0], 0.5), std=0.1)
    h = torch.randn(7, 40)
    for rows in (1, 2, 3, 7):
        assert torch.equal(prior.residual(h[:rows], NOTHING), prior.residual(h, NOTHING)[:rows])


@pytest.mark.parametrize(("sigmas", "sigma"), [([0.0, 1.0], 0.5), ([1.0, 0.1], 0.5), ([0.1, 1.0], 2.0), ([0.1], 0.1)])
def test_noise_levels_that_cannot_be_are_refused(sigmas, sigma) -> None:
    with pytest.raises(InputError, match="noise levels"):
        NoiseConditional([6], 16, 2, sigmas, sigma)
