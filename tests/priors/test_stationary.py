"""The stationary Gaussian against the dense Gaussian that it stands for, and its fit."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppgn.contracts import DensityPrior, NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.model import PPGN, load
from ppgn.priors.stationary import Stationary

NOTHING = torch.zeros(0)


def draws(count: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Periodic codes whose channels are mixed and smoothed alike at every place."""
    random = torch.Generator().manual_seed(seed)
    channels = shape[0]
    mixing = torch.randn(channels, channels, generator=random)
    white = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed + 1))
    smooth = white + 0.8 * white.roll(1, dims=-1) - 0.5 * white.roll(1, dims=-2).roll(1, dims=1)
    return torch.einsum("ij,njhw->nihw", mixing, smooth) + torch.arange(channels)[:, None, None]


def fitted(shape: tuple[int, ...], count: int = 400) -> Stationary:
    prior = Stationary(shape, 0.5).double()
    prior.fit(draws(count, shape))
    return prior


def dense(prior: Stationary) -> Tensor:
    """Its inverse covariance (D, D), column by column from the score."""
    size = math.prod(prior.code_shape)
    basis = torch.eye(size, dtype=torch.float64).view(size, *prior.code_shape)
    return -prior.score(prior.mean + basis, NOTHING).flatten(1)


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 3, 5), (2, 4, 1), (1, 1, 2)])
def test_it_is_the_gaussian_of_a_dense_covariance(shape: tuple[int, ...]) -> None:
    prior, size = fitted(shape), math.prod(shape)
    precision = dense(prior)
    torch.testing.assert_close(precision, precision.T, rtol=1e-8, atol=1e-8)
    mean = prior.mean.expand(shape).flatten()
    law = torch.distributions.MultivariateNormal(mean, precision_matrix=(precision + precision.T) / 2)
    h = draws(5, shape, seed=7).double()
    torch.testing.assert_close(prior.log_prob(h), law.log_prob(h.flatten(1)), rtol=1e-8, atol=1e-8)
    noisy = law.covariance_matrix + 0.49 * torch.eye(size, dtype=torch.float64)
    expected = -0.49 * torch.linalg.solve(noisy, (h.flatten(1) - mean).T).T
    torch.testing.assert_close(prior.at(0.7).residual(h, NOTHING).flatten(1), expected, rtol=1e-7, atol=1e-7)


def test_its_score_is_the_gradient_of_its_density() -> None:
    prior, h = fitted((2, 4, 6)), draws(3, (2, 4, 6), seed=5).double().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.log_prob(h).sum(), h)
    torch.testing.assert_close(prior.score(h, NOTHING).detach(), gradient)


def test_the_fit_finds_the_covariance_at_a_distance() -> None:
    shape = (2, 6, 6)
    covariance = torch.linalg.inv(dense(fitted(shape, 4000))).view(2, 6, 6, 2, 6, 6)
    h = draws(40_000, shape, seed=0).double()
    h = h - h.mean(dim=(0, 2, 3), keepdim=True)
    for row, column in [(0, 0), (0, 1), (1, 1), (3, 0)]:
        measured = torch.einsum("nihw,njhw->ij", h, h.roll((row, column), dims=(-2, -1))) / (len(h) * 36)
        assert (covariance[:, row, column, :, 0, 0] - measured).abs().max() < 0.1 * measured.abs().max() + 0.1


def test_fewer_codes_than_channels_still_give_a_density() -> None:
    prior = Stationary((8, 4, 4), 0.5)
    prior.fit(draws(3, (8, 4, 4)))
    assert prior.log_prob(draws(2, (8, 4, 4), seed=9)).isfinite().all()


def test_it_offers_what_the_contracts_say_and_is_white_at_first() -> None:
    prior, h = Stationary((2, 3, 4), 0.5), torch.randn(2, 2, 3, 4)
    assert isinstance(prior, DensityPrior)
    assert isinstance(prior, NoiseConditionalPrior)
    torch.testing.assert_close(h + prior.at(2.0).residual(h, NOTHING), h / 5)
    assert prior.span == (0.02, 10.0)


def test_a_row_is_the_same_in_any_batch() -> None:
    prior, h = fitted((4, 8, 8)).float(), draws(5, (4, 8, 8), seed=3)
    for rows in (1, 2, 5):
        assert torch.equal(prior.at(0.3).residual(h[:rows], NOTHING), prior.at(0.3).residual(h, NOTHING)[:rows])


def test_a_model_keeps_it(tmp_path: Path) -> None:
    identity = {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, 8, 8]}
    config = {"_target_": "ppgn.priors.stationary.Stationary", "code_shape": [3, 8, 8], "sigma": 0.5}
    prior, h = fitted((3, 8, 8)).float(), draws(3, (3, 8, 8), seed=3)
    PPGN.from_config({"generator": identity}).with_prior("stationary", prior, config).save(tmp_path / "m.safetensors")
    again: Stationary = load(tmp_path / "m.safetensors").priors["stationary"]  # type: ignore[assignment]
    torch.testing.assert_close(
        again.at(0.1).residual(h, NOTHING), prior.at(0.1).residual(h, NOTHING), rtol=0, atol=0.02
    )


def test_it_is_fitted_within_seconds() -> None:
    codes, start = draws(256, (32, 16, 16)), time.perf_counter()
    Stationary((32, 16, 16), 0.5).fit(codes)
    assert time.perf_counter() - start < 10


def test_codes_that_it_does_not_take_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(C, H, W\)"):
        Stationary((512,), 0.5)
    with pytest.raises(InputError, match="2 or more"):
        Stationary((2, 2, 2), 0.5).fit(torch.zeros(1, 2, 2, 2))
