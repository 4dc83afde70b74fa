"""The energy's score against differences of its log density, and both against a Gaussian's."""

from __future__ import annotations

import pytest
import torch

from ppgn.contracts import DensityPrior
from ppgn.priors.energy import EnergyDAE
from tests.priors.training import fit, randomize

NOTHING = torch.zeros(0)


@pytest.fixture
def prior() -> EnergyDAE:
    torch.manual_seed(0)
    made = randomize(EnergyDAE([5], 16, 2, 0.5)).double()
    assert isinstance(made, EnergyDAE)
    return made


def test_the_score_is_the_gradient_of_the_log_density(prior: EnergyDAE) -> None:
    h, step = torch.randn(3, 5, dtype=torch.float64), 1e-5
    shifts = step * torch.eye(5, dtype=torch.float64)
    differences = [(prior.log_prob(h + shift) - prior.log_prob(h - shift)) / (2 * step) for shift in shifts]
    torch.testing.assert_close(prior.score(h, NOTHING), torch.stack(differences, dim=1), rtol=1e-6, atol=1e-6)


def test_the_residual_is_the_score_times_the_noise_variance(prior: EnergyDAE) -> None:
    h = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        residual = prior.residual(h, NOTHING)
    torch.testing.assert_close(residual, 0.25 * prior.score(h, NOTHING))
    assert not residual.requires_grad


def test_the_score_is_differentiable(prior: EnergyDAE) -> None:
    h = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda code: prior.score(code, NOTHING), h)


def test_its_tails_are_gaussian(prior: EnergyDAE) -> None:
    h = torch.randn(3, 5, dtype=torch.float64)
    far = prior.log_prob(1e6 * h) / 1e12
    torch.testing.assert_close(far, -0.5 * h.square().sum(1) / 1.25, rtol=1e-4, atol=0)


def test_untrained_it_is_the_gaussian_of_white_codes_with_noise() -> None:
    h = torch.randn(6, 5)
    normal = torch.distributions.Normal(0, 1.25**0.5).log_prob(h).sum(1)
    found = EnergyDAE([5], 16, 2, 0.5).log_prob(h)
    torch.testing.assert_close(found - found[0], normal - normal[0])


def test_trained_on_a_gaussian_it_has_its_density_and_its_denoiser() -> None:
    torch.manual_seed(0)
    variance, sigma = torch.tensor([0.4, 1.6]), 0.7
    prior = EnergyDAE([2], 32, 2, sigma)
    fit(prior, lambda n: variance.sqrt() * torch.randn(n, 2), steps=500)
    h = (variance + sigma**2).sqrt() * torch.randn(200, 2)
    expected = h * variance / (variance + sigma**2)
    assert (h + prior.residual(h, NOTHING) - expected).square().mean().sqrt() < 0.1
    normal = torch.distributions.Normal(0, (variance + sigma**2).sqrt()).log_prob(h).sum(1)
    found = prior.log_prob(h)
    error = (found - found.mean()) - (normal - normal.mean())
    assert error.square().mean().sqrt() < 0.25 * normal.std()


def test_rows_do_not_influence_each_other() -> None:
    torch.manual_seed(0)
    prior = randomize(EnergyDAE([40], 32, 2, 0.5), std=0.1)
    assert isinstance(prior, EnergyDAE)
    h = torch.randn(7, 40)
    for rows in (1, 2, 3, 7):
        assert torch.equal(prior.score(h[:rows], NOTHING), prior.score(h, NOTHING)[:rows])


def test_it_offers_what_the_contract_says() -> None:
    assert isinstance(EnergyDAE([5], 16, 2, 0.5), DensityPrior)
