from __future__ import annotations

import pytest
import torch

from ppgn.contracts import DensityPrior, NoiseConditionalPrior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from tests.tiny import TinyEncoder

CODES = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -3.0]], dtype=torch.float64)
NOTHING = torch.zeros(2, 0)


def test_it_offers_a_density_and_every_noise_level() -> None:
    assert isinstance(Gaussian(), DensityPrior)
    assert isinstance(Gaussian(), NoiseConditionalPrior)
    assert not isinstance(Joint(TinyEncoder()), DensityPrior)
    assert not isinstance(Joint(TinyEncoder()), NoiseConditionalPrior)


def test_score_is_the_gradient_of_log_prob() -> None:
    h = CODES.clone().requires_grad_()
    (expected,) = torch.autograd.grad(Gaussian().log_prob(h).sum(), h)
    torch.testing.assert_close(Gaussian().score(CODES, NOTHING), expected)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 1.0, 30.0])
def test_a_noise_level_gives_the_score_of_the_smoothed_density(sigma: float) -> None:
    h = CODES.clone().requires_grad_()
    smoothed = torch.distributions.Normal(0.0, (1 + sigma**2) ** 0.5).log_prob(h)
    (score,) = torch.autograd.grad(smoothed.sum(), h)
    torch.testing.assert_close(Gaussian().at(sigma).residual(CODES, NOTHING), sigma**2 * score)


def test_its_own_residual_is_that_of_unbounded_noise() -> None:
    torch.testing.assert_close(Gaussian().at(1e8).residual(CODES, NOTHING), Gaussian().residual(CODES, NOTHING))


def test_log_prob_is_that_of_independent_standard_normals_of_any_shape() -> None:
    h = CODES.view(2, 3, 1)
    torch.testing.assert_close(Gaussian().log_prob(h), torch.distributions.Normal(0, 1).log_prob(h).sum(dim=(1, 2)))
    assert Gaussian.code_shape is None
