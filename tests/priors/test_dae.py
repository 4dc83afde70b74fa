"""Denoising autoencoders against what is known of Gaussian data."""

from __future__ import annotations

import pytest
import torch

from ppgn.contracts import NoiseConditionalPrior, Prior
from ppgn.errors import InputError
from ppgn.priors.dae import DAE, ImageDAE
from tests.priors.training import fit, randomize

NOTHING = torch.zeros(64, 0)


@pytest.mark.parametrize("skip", [True, False])
def test_trained_on_a_gaussian_it_is_the_linear_denoiser_of_its_variances(skip: bool) -> None:
    torch.manual_seed(0)
    variance, sigma = torch.tensor([0.25, 1.0, 2.0]), 0.7
    prior = DAE([3], [32, 16, 32], sigma, skip=skip)
    fit(prior, lambda n: variance.sqrt() * torch.randn(n, 3))
    h = (variance + sigma**2).sqrt() * torch.randn(64, 3)
    expected = h * variance / (variance + sigma**2) - h
    error = (prior.residual(h, NOTHING) - expected).square().mean().sqrt()
    assert error < 0.12
    if skip:  # better than what it started from, which takes all variances for 1
        assert error < 0.5 * (h / (1 + sigma**2) - h - expected).square().mean().sqrt()


def test_untrained_it_is_the_best_linear_denoiser() -> None:
    h = torch.randn(5, 4)
    assert torch.allclose(DAE([4], [8], 0.5).residual(h, NOTHING), h / 1.25 - h)
    assert torch.equal(
        ImageDAE([3, 8, 8], [4, 6], 0.1).residual(torch.ones(2, 3, 8, 8), NOTHING), torch.zeros(2, 3, 8, 8)
    )


def test_published_widths() -> None:
    with torch.device("meta"):
        prior = DAE([4096], [2048, 1024, 500, 1024, 2048], 1.0, skip=False)
    widths = [layer.out_features for layer in prior.net if isinstance(layer, torch.nn.Linear)]
    assert widths == [2048, 1024, 500, 1024, 2048, 4096]


def test_it_is_a_prior_of_one_noise_level() -> None:
    prior = DAE([4], [8], 0.5)
    assert isinstance(prior, Prior)
    assert not isinstance(prior, NoiseConditionalPrior)
    assert (prior.code_shape, prior.sigma) == ((4,), 0.5)


def test_an_image_dae_learns_that_pictures_are_flat() -> None:
    torch.manual_seed(0)
    prior, sigma = ImageDAE([3, 8, 8], [8, 8], 0.2), 0.2
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(150):
        x = torch.rand(32, 3, 1, 1).expand(-1, -1, 8, 8)
        loss = (prior.denoise(x + sigma * torch.randn(32, 3, 8, 8), torch.full((32,), sigma)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.rand(64, 3, 1, 1).expand(-1, -1, 8, 8)
    noisy = x + sigma * torch.randn(64, 3, 8, 8)
    left = (noisy + prior.residual(noisy, NOTHING) - x).square().mean()
    assert left < 0.25 * sigma**2  # pixel by pixel, no more than 68 % can go: v / (v + σ²) with v = 1/12


def test_rows_do_not_influence_each_other() -> None:
    torch.manual_seed(0)
    prior, image_prior = randomize(DAE([40], [32, 24], 0.5)), randomize(ImageDAE([3, 8, 8], [4, 6], 0.1))
    h, x = torch.randn(7, 40), torch.rand(7, 3, 8, 8)
    for rows in (1, 2, 3, 7):
        assert torch.equal(prior.residual(h[:rows], NOTHING), prior.residual(h, NOTHING)[:rows])
        part, whole = image_prior.residual(x[:rows], NOTHING), image_prior.residual(x, NOTHING)[:rows]
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DAE([3, 8, 8], [8], 0.5), r"codes of shape \(3, 8, 8\)"),
        (lambda: DAE([4], [8], 0.0), "noise levels"),
        (lambda: ImageDAE([4], [8], 0.5), r"expected images \(3, H, W\)"),
        (lambda: ImageDAE([3, 9, 8], [8, 8], 0.5), "sides multiples of 2"),
    ],
)
def test_what_cannot_be_is_refused(make, words) -> None:
    with pytest.raises(InputError, match=words):
        make()
