"""The mixture prior against torch.distributions, and its fit against a mixture that is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ppgn.contracts import DensityPrior, NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.priors.mixture import Mixture

NOTHING = torch.zeros(0)


@pytest.fixture
def prior() -> Mixture:
    random = torch.Generator().manual_seed(0)
    prior = Mixture([3], 4, sigma=0.7).double()
    prior.means.copy_(2 * torch.randn(4, 3, generator=random))
    prior.variances.copy_(0.1 + torch.rand(4, 3, generator=random))
    prior.log_weights.copy_(torch.randn(4, generator=random).double().log_softmax(0))
    return prior


def smoothed(prior: Mixture, sigma: float) -> MixtureSameFamily:
    """The same mixture with noise of standard deviation σ added, independently written."""
    parts = Independent(Normal(prior.means, (prior.variances + sigma**2).sqrt()), 1)
    return MixtureSameFamily(Categorical(logits=prior.log_weights), parts)


def gradient(prior: Mixture, h: Tensor, sigma: float) -> Tensor:
    h = h.clone().requires_grad_(True)
    return torch.autograd.grad(smoothed(prior, sigma).log_prob(h).sum(), h)[0]


def test_it_has_a_density_and_every_noise_level(prior: Mixture) -> None:
    assert isinstance(prior, DensityPrior)
    assert isinstance(prior, NoiseConditionalPrior)


def test_density_and_score_are_those_of_the_mixture(prior: Mixture) -> None:
    h = 2 * torch.randn(11, 3, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(h), smoothed(prior, 0.0).log_prob(h), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prior.score(h, NOTHING), gradient(prior, h, 0.0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0])
def test_the_denoiser_is_tweedies_formula(prior: Mixture, sigma: float) -> None:
    h = 2 * torch.randn(11, 3, dtype=torch.float64)
    expected = sigma**2 * gradient(prior, h, sigma)
    torch.testing.assert_close(prior.at(sigma).residual(h, NOTHING), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prior.denoise(h, torch.tensor([sigma])), h + expected, rtol=1e-7, atol=1e-7)


def test_rows_of_one_batch_may_have_levels_of_their_own(prior: Mixture) -> None:
    h, sigma = torch.randn(3, 3, dtype=torch.float64), torch.tensor([0.5, 2.0, 0.5])
    found = prior.denoise(h, sigma)
    for row, level in enumerate([0.5, 2.0, 0.5]):
        alone = h[row] + prior.at(level).residual(h[row : row + 1], NOTHING)[0]
        torch.testing.assert_close(found[row], alone)


def test_its_own_residual_is_that_of_its_default_level(prior: Mixture) -> None:
    h = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(prior.residual(h, NOTHING), prior.at(0.7).residual(h, NOTHING), rtol=1e-6, atol=1e-7)


def test_not_fitted_it_is_white() -> None:
    h = torch.randn(4, 5)
    torch.testing.assert_close(h + Mixture([5], 3, 0.5).at(2.0).residual(h, NOTHING), h / 5)


def test_em_finds_the_mixture_that_the_codes_are_from() -> None:
    torch.manual_seed(0)
    weights, means = torch.tensor([0.7, 0.3]), torch.tensor([[1.5, 0.0], [-1.5, 1.0]])
    spread = torch.tensor([[0.3, 0.6], [0.5, 0.2]])
    side = torch.multinomial(weights, 20_000, replacement=True)
    codes = means[side] + spread[side] * torch.randn(20_000, 2)
    prior = Mixture([2], 2, 0.5)
    mean = prior.fit(codes, rounds=25)
    order = prior.log_weights.argsort(descending=True)
    torch.testing.assert_close(prior.log_weights[order].exp(), weights, rtol=0, atol=0.02)
    torch.testing.assert_close(prior.means[order], means, rtol=0, atol=0.03)
    torch.testing.assert_close(prior.variances[order].sqrt(), spread, rtol=0, atol=0.03)
    assert mean == pytest.approx(float(prior.log_prob(codes).mean()) / 2, rel=1e-4)


def test_every_round_of_em_raises_the_likelihood() -> None:
    torch.manual_seed(0)
    codes = torch.randn(4000, 3) * (torch.rand(4000, 1) + 0.2)
    reached = [Mixture([3], 4, 0.5).fit(codes, rounds) for rounds in (1, 4, 16)]
    assert reached[0] < reached[1] < reached[2]


def test_a_component_of_few_codes_borrows_the_mean_variance() -> None:
    few, many = torch.full((20, 2), 20.0), torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    prior = Mixture([2], 2, 0.5)
    prior.fit(torch.cat([few, many]), rounds=5, seed=1)
    far = int(prior.means.sum(dim=1).argmax())
    torch.testing.assert_close(prior.means[far], few[0])
    pooled = many.var(dim=0, correction=0) * 100 / 120
    torch.testing.assert_close(prior.variances[far], pooled * 10 / (20 + 10))
    torch.testing.assert_close(prior.variances[1 - far], (many.var(dim=0, correction=0) * 100 + pooled * 10) / 110)


def test_too_few_codes_are_refused() -> None:
    with pytest.raises(InputError, match="3 codes cannot fit 4 components"):
        Mixture([2], 4, 0.5).fit(torch.randn(3, 2), rounds=1)


def test_no_components_are_refused() -> None:
    with pytest.raises(InputError, match="components=0"):
        Mixture([2], 0, 0.5)


def test_spatial_codes_are_vectors_of_another_form() -> None:
    torch.manual_seed(0)
    codes = torch.randn(60, 2, 3, 3) * 2 + 1
    spatial, flat = Mixture([2, 3, 3], 3, 0.5), Mixture([18], 3, 0.5)
    assert spatial.fit(codes, rounds=3) == flat.fit(codes.flatten(1), rounds=3)
    assert torch.equal(spatial.log_prob(codes), flat.log_prob(codes.flatten(1)))
    assert torch.equal(
        spatial.at(0.7).residual(codes, NOTHING).flatten(1), flat.at(0.7).residual(codes.flatten(1), NOTHING)
    )
