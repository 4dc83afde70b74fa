"""A bank that is told the rest of a picture, against dense Gaussians in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ppgn.contracts import AnchoringPrior, NoiseConditionalPrior
from ppgn.inpainting import anchoring
from ppgn.inpainting.anchoring import WINDOW, Told, ToldBank
from ppgn.inpainting.regression import Regression
from ppgn.priors.bank import Bank
from ppgn.samplers.anchored import evened

NOTHING, EYE = torch.zeros(0), torch.eye(3, dtype=torch.float64)
MEAN = torch.tensor([0.7, -1.0, 0.2], dtype=torch.float64)
_root = torch.tensor([[0.5, 0.0, 0.0], [0.2, 0.6, 0.0], [-0.3, 0.1, 0.7]], dtype=torch.float64)
COVARIANCE = _root @ _root.T


@pytest.fixture
def bank() -> Bank:
    prior = Bank([3], 30, sigma=0.5)
    prior.fit(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    return prior.double()


def told(bank: Bank, mean: Tensor = MEAN, candidates: float = 0.0) -> Told:
    return Told(bank, Regression(torch.zeros(3, 4), *torch.linalg.eigh(COVARIANCE)), mean, candidates)


def likelihood() -> tuple[Tensor, Tensor]:
    """N(centre; h, noise) that makes N(0, I) to N(MEAN, COVARIANCE): centre and noise."""
    precision = COVARIANCE.inverse() - EYE
    return precision.inverse() @ COVARIANCE.inverse() @ MEAN, precision.inverse()


def test_anchors_are_the_members_windows_times_the_likelihood(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "SHORTLIST", 7)
    monkeypatch.setattr(anchoring, "CHUNK", 8)
    guesses = torch.randn(30, generator=torch.Generator().manual_seed(1)).double()
    codes, log_p = told(bank, candidates=11 / 30).anchors(guesses)
    centre, noise = likelihood()
    members = bank.codes(torch.arange(30))
    fits = torch.stack([MultivariateNormal(b, WINDOW**2 * EYE + noise).log_prob(centre) for b in members])
    assert 1 / fits.softmax(0).square().sum() < 11
    expected = evened(fits, 11.0) + guesses
    best = expected.topk(7)
    torch.testing.assert_close(log_p - log_p[0], best.values - best.values[0])
    precision = EYE / WINDOW**2 + noise.inverse()
    moved = [
        torch.linalg.solve(precision, members[k] / WINDOW**2 + torch.linalg.solve(noise, centre)) for k in best.indices
    ]
    torch.testing.assert_close(codes, torch.stack(moved))
    _, log_p = told(bank).anchors(guesses)  # the rest is taken at its word
    best = (fits + guesses).topk(7)
    torch.testing.assert_close(log_p - log_p[0], best.values - best.values[0])


def test_the_prior_near_an_anchor_is_what_a_window_says(bank: Bank) -> None:
    both = ToldBank(bank, [told(bank), told(bank)])
    assert isinstance(both, AnchoringPrior)
    anchor, h = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    near = both.near(anchor, 0.3)
    assert isinstance(near, NoiseConditionalPrior)
    window = (EYE / WINDOW**2 + likelihood()[1].inverse()).inverse() * (0.3 / WINDOW) ** 2
    for sigma in (0.05, 0.5):
        denoised = torch.linalg.solve(window.inverse() + EYE / sigma**2, window.inverse() @ anchor.T + h.T / sigma**2).T
        torch.testing.assert_close(near.at(sigma).residual(h, NOTHING), denoised - h)
    torch.testing.assert_close(near.residual(h, NOTHING), near.at(0.3).residual(h, NOTHING))
    alone = ToldBank(bank, [told(bank)]).near(anchor[1:], 0.3)
    assert torch.equal(alone.residual(h[1:], NOTHING), near.residual(h, NOTHING)[1:])


def test_of_what_the_rest_tells_nothing_the_member_decides(bank: Bank) -> None:
    wide = Regression(torch.zeros(3, 4), torch.full((3,), 1.5).double(), EYE)
    codes, log_p = Told(bank, wide, torch.zeros(3).double()).anchors(torch.arange(30.0))
    assert log_p[0] == log_p.max()
    torch.testing.assert_close(codes[0], bank.codes(torch.tensor([29]))[0], rtol=0, atol=0.15)
