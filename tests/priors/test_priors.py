from __future__ import annotations

from pathlib import Path

import torch

from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from tests.tiny import TinyEncoder, TinyGenerator

CONF = Path(__file__).parents[2] / "conf" / "prior"
CODES = torch.tensor([[0.5, -1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


def test_gaussian_residual_is_its_score() -> None:
    prior, h = Gaussian(), CODES.clone().requires_grad_()
    (score,) = torch.autograd.grad(prior.log_prob(h).sum(), h)
    residual = prior.residual(CODES, torch.zeros(2, 3, 1, 1))
    assert torch.equal(residual, -CODES)
    torch.testing.assert_close(residual, score)


def test_gaussian_log_prob_is_that_of_independent_standard_normals() -> None:
    expected = torch.distributions.Normal(0, 1).log_prob(CODES.view(2, 5, 1))
    torch.testing.assert_close(Gaussian().log_prob(CODES.view(2, 5, 1)), expected.sum(dim=(1, 2)))


def test_joint_residual_reads_the_image_and_does_not_backpropagate() -> None:
    encoder, generator = TinyEncoder(), TinyGenerator()
    h = CODES.clone().requires_grad_()
    x = generator(h)
    residual = Joint(encoder).residual(h, x)
    assert torch.equal(residual, encoder(generator(CODES)) - CODES)
    assert residual.abs().max() > 0.1
    assert not residual.requires_grad
