"""A prior with a likelihood of codes beside it, against Bayes' rule for Gaussians."""

from __future__ import annotations

import pytest
import torch

from ppgn.contracts import NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.mixture import Mixture
from ppgn.priors.observed import Observed

NOTHING = torch.zeros(3, 0)
CODES = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def likelihoods(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of two noisy linear readings of a code each: Λ and b. What they do not read is left open."""
    random = torch.Generator().manual_seed(1)
    seen = torch.randn(rows, 2, 4, generator=random, dtype=torch.float64)
    precise = torch.tensor([4.0, 0.5], dtype=torch.float64).diag()
    read = torch.randn(rows, 2, 1, generator=random, dtype=torch.float64)
    return seen.mT @ precise @ seen, (seen.mT @ precise @ read).squeeze(2)


def test_it_keeps_the_contract_of_its_prior() -> None:
    prior = Observed(Mixture([4], 2, 0.5), *likelihoods(3))
    assert isinstance(prior, NoiseConditionalPrior)
    assert prior.sigmas == Mixture([4], 2, 0.5).sigmas


@pytest.mark.parametrize("sigma", [1e-6, 0.3, 2.0, 1e6])
def test_with_codes_from_a_normal_distribution_it_is_bayes_rule(sigma: float) -> None:
    precision, information = likelihoods(3)
    total = (1 + sigma**-2) * torch.eye(4, dtype=torch.float64) + precision
    expected = torch.linalg.solve(total, (CODES / sigma**2 + information).unsqueeze(2)).squeeze(2)
    found = CODES + Observed(Gaussian(), precision, information).at(sigma).residual(CODES, NOTHING)
    torch.testing.assert_close(found, expected)


def test_its_own_residual_is_that_of_its_priors_own_level() -> None:
    precision, information = likelihoods(3)
    mean = torch.linalg.solve(torch.eye(4) + precision, information.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(CODES + Observed(Gaussian(), precision, information).residual(CODES, NOTHING), mean)
    mixture = Mixture([4], 2, 0.7).double()
    prior = Observed(mixture, precision, information)
    torch.testing.assert_close(prior.residual(CODES, NOTHING), prior.at(0.7).residual(CODES, NOTHING))


def test_a_likelihood_that_says_nothing_changes_nothing() -> None:
    prior = Observed(Mixture([4], 2, 0.5), torch.zeros(1, 4, 4), torch.zeros(1, 4))
    h = CODES.float()
    assert torch.equal(prior.at(0.4).residual(h, NOTHING), Mixture([4], 2, 0.5).at(0.4).residual(h, NOTHING))


def test_one_likelihood_serves_all_rows_and_a_row_does_not_depend_on_its_batch() -> None:
    precision, information = (part.float() for part in likelihoods(3))
    together = Observed(Gaussian(), precision, information).at(0.8).residual(CODES.float(), NOTHING)
    for row in range(3):
        here = slice(row, row + 1)
        one = Observed(Gaussian(), precision[here], information[here]).at(0.8)
        assert torch.equal(one.residual(CODES[here].float(), NOTHING), together[here])
        assert torch.equal(one.residual(CODES[[row] * 5].float(), NOTHING), together[[row] * 5])


def test_it_can_be_differentiated() -> None:
    level = Observed(Gaussian(), *likelihoods(3)).at(0.8)
    assert torch.autograd.gradcheck(lambda h: level.residual(h, NOTHING), CODES.clone().requires_grad_())


def test_shapes_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"precision \(1, 4, 4\) and information \(1, 3\); expected"):
        Observed(Gaussian(), torch.zeros(1, 4, 4), torch.zeros(1, 3))
