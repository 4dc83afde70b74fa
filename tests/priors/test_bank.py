"""The bank of codes against torch.distributions in float64, its storage, and its order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ppgn.contracts import DensityPrior, NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.generators.resnet import ResNet
from ppgn.model import PPGN, load
from ppgn.posterior import Posterior
from ppgn.priors.bank import Bank
from ppgn.samplers.chains import run_chains
from ppgn.samplers.mala import Mala
from ppgn.samplers.noise import Noise
from tests.tiny import TinyCondition, TinyGenerator

NOTHING = torch.zeros(0)
CODES = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def prior() -> Bank:
    prior = Bank([5], 40, sigma=0.7, dims=3, bandwidth=0.4)
    prior.fit(CODES * torch.tensor([1.0, 2.0, 0.5, 1.5, 0.7]) + torch.tensor([0.0, 0.0, 0.0, 0.3, -0.2]))
    return prior.double()


def smoothed(prior: Bank, sigma: float) -> MixtureSameFamily:
    """The same density with noise of standard deviation σ added, independently written."""
    codes = prior.codes(torch.arange(40))
    shrink = torch.tensor([(1 - 0.4**2) ** 0.5] * 3 + [1.0] * 2, dtype=torch.float64)
    variance = torch.cat([torch.full((3,), 0.4**2, dtype=torch.float64), prior.variance]) + sigma**2
    parts = Independent(Normal(codes * shrink, variance.sqrt()), 1)
    return MixtureSameFamily(Categorical(logits=torch.zeros(40, dtype=torch.float64)), parts)


def gradient(prior: Bank, h: Tensor, sigma: float) -> Tensor:
    h = h.clone().requires_grad_(True)
    return torch.autograd.grad(smoothed(prior, sigma).log_prob(h).sum(), h)[0]


def test_it_has_a_density_and_every_noise_level(prior: Bank) -> None:
    assert isinstance(prior, DensityPrior)
    assert isinstance(prior, NoiseConditionalPrior)


def test_density_and_score_are_those_of_the_mixture_over_all_members(prior: Bank) -> None:
    h = 2 * torch.randn(11, 5, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(h), smoothed(prior, 0.0).log_prob(h), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prior.score(h, NOTHING), gradient(prior, h, 0.0), rtol=1e-10, atol=1e-10)


def test_the_score_is_the_gradient_of_its_own_density(prior: Bank) -> None:
    h = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(prior.log_prob(h).sum(), h)
    torch.testing.assert_close(prior.score(h.detach(), NOTHING), expected)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0])
def test_the_denoiser_is_tweedies_formula(prior: Bank, sigma: float) -> None:
    h = 2 * torch.randn(11, 5, dtype=torch.float64)
    expected = sigma**2 * gradient(prior, h, sigma)
    torch.testing.assert_close(prior.at(sigma).residual(h, NOTHING), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prior.denoise(h, torch.tensor([sigma])), h + expected, rtol=1e-7, atol=1e-7)


def test_members_in_several_chunks_are_all_counted(prior: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    h = torch.randn(3, 5, dtype=torch.float64)
    expected = prior.log_prob(h), prior.score(h, NOTHING)
    monkeypatch.setattr("ppgn.priors.bank.CHUNK", 7)
    torch.testing.assert_close((prior.log_prob(h), prior.score(h, NOTHING)), expected)


def test_a_row_is_the_same_in_any_batch() -> None:
    prior = Bank([64], 5000, sigma=0.5)
    prior.fit(torch.randn(5000, 64, generator=torch.Generator().manual_seed(1)))
    h = torch.randn(19, 64)
    for of in (prior.log_prob, lambda h: prior.score(h, NOTHING), lambda h: prior.at(0.3).residual(h, NOTHING)):
        assert torch.equal(of(h)[7:9], of(h[7:9]))


def test_chains_that_ask_for_a_density_find_it(prior: Bank) -> None:
    target = Posterior(TinyGenerator(), prior, TinyCondition(1))
    h = torch.randn(3, 5, dtype=torch.float64)
    evaluation = target.evaluate(h, density=True)
    assert evaluation.log_prior is not None
    torch.testing.assert_close(evaluation.log_prior, prior.log_prob(h))
    drawn = run_chains(
        [target], Mala(step_size=0.05, warmup=100, steps=120), Noise([1, 2], dtype=torch.float64), steps=120
    )
    assert prior.log_prob(drawn.codes).min() > prior.log_prob(4 * torch.ones(1, 5, dtype=torch.float64))


def test_all_dimensions_may_be_told() -> None:
    prior = Bank([3], 4, sigma=0.5)
    prior.fit(CODES[:, :3])
    assert prior.log_prob(torch.zeros(2, 3)).shape == (2,)
    assert prior.score(torch.zeros(2, 3), NOTHING).shape == (2, 3)


def test_members_are_the_codes_up_to_their_rounding() -> None:
    codes = torch.randn(1000, 8, generator=torch.Generator().manual_seed(2))
    prior = Bank([8], 1000, sigma=0.5)
    prior.fit(codes)
    distance = torch.cdist(prior.codes(torch.arange(1000)), codes)
    assert sorted(distance.argmin(dim=1).tolist()) == list(range(1000))
    assert distance.min(dim=1).values.max() < 8**0.5 * codes.abs().max() / 127


def test_it_keeps_the_regression_of_one_network() -> None:
    prior = Bank([5], 40, sigma=0.7, dims=3, network="abc", outputs=2)
    prior.fit(CODES)
    prior.readout.copy_(torch.randn(2, 4))
    codes = prior.codes(torch.arange(40))
    weight = prior.regression("abc")
    assert weight is not None
    expected = codes[:, :3] @ prior.readout[:, :3].T + prior.readout[:, 3]
    torch.testing.assert_close(codes @ weight[:, :-1].T + weight[:, -1], expected)
    assert prior.regression("another") is None


def test_a_prior_near_anchors_is_a_gaussian_around_each() -> None:
    anchor, h = torch.randn(2, 5), torch.randn(2, 5)
    near = Bank([5], 3, sigma=0.5).near(anchor, 0.3)
    torch.testing.assert_close(near.at(0.4).residual(h, NOTHING), 0.4**2 * (anchor - h) / (0.3**2 + 0.4**2))


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    settings = {"members": 6, "sigma": 0.5, "dims": 4, "code_shape": [8]}
    prior = Bank(**settings)  # type: ignore[arg-type]
    prior.fit(torch.randn(6, 8))
    described = {"_target_": "ppgn.generators.resnet.ResNet", "code_dim": 8, "widths": [8, 8], "depths": [0, 0]}
    generator = ResNet(**{key: value for key, value in described.items() if key != "_target_"})  # type: ignore[arg-type]
    model = PPGN(generator, config={"generator": described})
    model = model.with_prior("bank", prior, {"_target_": "ppgn.priors.bank.Bank", **settings})
    model.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors").priors["bank"]
    assert isinstance(loaded, Bank)
    assert loaded.members.dtype == torch.int8
    assert torch.equal(loaded.members, prior.members)
    torch.testing.assert_close(loaded.codes(torch.arange(6)), prior.codes(torch.arange(6)), rtol=1e-3, atol=1e-3)


def test_fewer_codes_than_members_are_refused() -> None:
    with pytest.raises(InputError, match="3 codes"):
        Bank([2], 4, 0.5).fit(torch.randn(3, 2))


@pytest.mark.parametrize("settings", [{"members": 0}, {"dims": 3}, {"dims": 0}, {"bandwidth": 1.0}, {"bandwidth": 0.0}])
def test_what_cannot_be_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Bank(**{"code_shape": [2], "members": 4, "sigma": 0.5, **settings})  # type: ignore[arg-type]
