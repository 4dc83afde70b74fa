from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ppgn import files
from ppgn.conditions.classifier import Classifier
from ppgn.conditions.context import Context
from ppgn.conditions.rows import EachRow
from ppgn.contracts import Jacobian, Prior, Target
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.generators.resnet import ResNet
from ppgn.networks.network import Network, Preprocessing
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers import rows
from ppgn.samplers.noise import Noise
from ppgn.samplers.views import Jitter
from tests.tiny import CODE_SHAPE, IMAGE_SHAPE, TinyCondition, TinyEncoder, TinyGenerator

CODES = torch.linspace(-1.5, 1.5, 15, dtype=torch.float64).view(3, 5)
SEEDS = (1, 2, 3)


def noise() -> Noise:
    return Noise(SEEDS, dtype=torch.float64)


class Recording(TinyCondition):
    """Remembers the images it was shown."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.detach()
        return super().forward(x)


def test_every_field_is_what_it_says() -> None:
    generator, encoder, condition = TinyGenerator(), TinyEncoder(), Recording(1)
    target: Target = Posterior(generator, Joint(encoder), condition)
    evaluation = target.evaluate(CODES)
    assert generator.calls == 1
    assert target.code_shape == CODE_SHAPE
    assert evaluation.image.shape == (3, *IMAGE_SHAPE)
    assert torch.equal(evaluation.image, generator(CODES))
    assert torch.equal(condition.seen, evaluation.image)
    assert torch.equal(evaluation.log_condition, condition(evaluation.image))
    assert torch.equal(evaluation.prior_residual, encoder(evaluation.image) - CODES)
    assert not any(value.requires_grad for value in rows.tensors(evaluation).values())
    assert evaluation.log_prior is None
    assert evaluation.prior_score is None
    assert not CODES.requires_grad


@pytest.mark.parametrize("transform", [None, Jitter(views=3, shift=0.2, zoom=1.4)])
def test_gradient_is_that_of_finite_differences(transform: Jitter | None) -> None:
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(2), transform)
    gradient = target.evaluate(CODES, noise()).condition_grad
    step = 1e-6
    for k in range(5):
        nudge = torch.zeros(5, dtype=torch.float64)
        nudge[k] = step
        up, down = (target.evaluate(CODES + sign * nudge, noise()).log_condition for sign in (1, -1))
        torch.testing.assert_close(gradient[:, k], (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
    assert gradient.abs().max() > 0.1


def test_gradient_survives_a_caller_without_gradients() -> None:
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(2))
    with torch.no_grad():
        evaluation = target.evaluate(CODES)
    assert torch.equal(evaluation.condition_grad, target.evaluate(CODES).condition_grad)


def test_log_condition_is_the_mean_over_views_and_the_prior_sees_the_image_itself() -> None:
    jitter, condition, encoder = Jitter(views=4, shift=0.2, zoom=1.4), Recording(2), TinyEncoder()
    evaluation = Posterior(TinyGenerator(), Joint(encoder), condition, jitter).evaluate(CODES, noise())
    views = jitter(evaluation.image, noise())
    assert torch.equal(condition.seen, views.flatten(0, 1))
    expected = torch.stack([condition(view) for view in views]).mean(dim=0)
    torch.testing.assert_close(evaluation.log_condition, expected)
    assert torch.equal(evaluation.prior_residual, encoder(evaluation.image) - CODES)


def test_rows_do_not_influence_each_other() -> None:
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(0), Jitter(2, 0.2, 1.4))
    batch = target.evaluate(CODES, noise())
    alone = target.evaluate(CODES[1:2], Noise(SEEDS[1:2], dtype=torch.float64))
    for name, value in rows.tensors(alone).items():
        assert torch.equal(rows.tensors(batch)[name][1:2], value), name


class Column(TinyCondition):
    """Says of a class among others."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, None].repeat(1, 4)[:, 2]


def test_the_evaluation_of_a_lone_code_can_be_written(tmp_path: Path) -> None:
    evaluation = Posterior(TinyGenerator(), Joint(TinyEncoder()), Column(1)).evaluate(CODES[:1])
    files.save(tmp_path / "evaluation", rows.tensors(evaluation), "a test")
    read, _ = files.load(tmp_path / "evaluation", "a test")
    assert torch.equal(read["log_condition"], evaluation.log_condition)


def test_views_without_noise_are_refused() -> None:
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(0), Jitter())
    with pytest.raises(InputError, match="random views need random numbers"):
        target.evaluate(CODES)


@pytest.mark.parametrize("part", ["generator", "prior", "condition"])
def test_trainable_networks_are_refused(part: str) -> None:
    parts: dict[str, nn.Module] = {
        "generator": TinyGenerator(),
        "prior": Joint(TinyEncoder()),
        "condition": TinyCondition(0),
    }
    parts[part].register_parameter("scale", nn.Parameter(torch.ones(())))
    with pytest.raises(InputError, match=f"the {part} has trainable parameters; freeze it first"):
        Posterior(**parts)  # type: ignore[arg-type]
    Posterior(**{name: module.requires_grad_(False) for name, module in parts.items()})  # type: ignore[arg-type]


def test_a_density_comes_where_it_is_asked_for() -> None:
    evaluation = Posterior(TinyGenerator(), Gaussian(), TinyCondition(0)).evaluate(CODES[:1], density=True)
    assert evaluation.log_prior is not None
    assert evaluation.prior_score is not None
    torch.testing.assert_close(evaluation.log_prior, torch.distributions.Normal(0, 1).log_prob(CODES[:1]).sum(dim=1))
    assert torch.equal(evaluation.prior_score, -CODES[:1])


def test_a_density_that_is_not_there_is_refused() -> None:
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(0))
    with pytest.raises(InputError, match="sampler mala needs a prior with a density; joint has none"):
        target.evaluate(CODES, density=True)
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(0), Jitter())
    with pytest.raises(InputError, match="not random views"):
        target.evaluate(CODES, noise(), density=True)


class Curved(nn.Module):
    """A noise-conditional prior whose denoiser is no linear map: R(h, σ) = sin(h) / (1 + σ²)."""

    sigmas = (0.1, 3.0)

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma

    def at(self, sigma: float) -> Prior:
        return Curved(sigma)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        return h.sin() / (1 + self.sigma**2) - h


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("jacobian", ["gaussian", "exact"])
def test_noisy_codes_are_shown_denoised_in_one_pass(jacobian: Jacobian, count: int) -> None:
    generator, condition, sigma, codes = TinyGenerator(), Recording(2), 2.0, CODES[:count]
    evaluation = Posterior(generator, Curved(), condition).at(sigma, jacobian).evaluate(codes)
    assert generator.calls == 1
    denoised = codes + evaluation.prior_residual
    torch.testing.assert_close(denoised, codes.sin() / 5)
    assert torch.equal(evaluation.image, generator(denoised))
    assert torch.equal(evaluation.log_condition, condition(generator(denoised)))
    plain = Posterior(generator, Gaussian(), condition).evaluate(denoised).condition_grad
    factor = codes.cos() / 5 if jacobian == "exact" else 1 / 5
    torch.testing.assert_close(evaluation.condition_grad, factor * plain)


def test_levels_that_a_prior_does_not_have_are_refused() -> None:
    target = Posterior(TinyGenerator(), Curved(), TinyCondition(0))
    for sigma in (0.09, 3.1, float("nan")):
        with pytest.raises(InputError, match=r"; the prior curved knows 0.1 to 3; set sampler.sigma_max"):
            target.at(sigma)
    for sigma in (0.1, 3.0):
        target.at(sigma)
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(0))
    with pytest.raises(InputError, match="needs a noise-conditional prior; joint is none; add prior=gaussian"):
        target.at(1.0)


class Counting(nn.Conv2d):
    """A network's stem that counts its passes."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x)


def network() -> Network:
    """Images (B, 3, 4, 4) -> logits (B, 4), by way of five channels."""
    torch.manual_seed(0)
    body = nn.Sequential(Counting(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(80, 4))
    return Network(body, Preprocessing(size=4), name="tiny")


class Apart(nn.Module):
    """A prior whose passes are its own."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.residual = prior.residual


def known() -> Context:
    return Context(torch.full((1, 3, 4, 4), 0.5), torch.eye(4)[None, None]).double()


@pytest.mark.parametrize("context", [None, known()])
@pytest.mark.parametrize("loaded_twice", [False, True])
@pytest.mark.parametrize("gradient", ["full", "truncated"])
def test_a_network_that_encoder_and_condition_share_is_passed_once(
    gradient: str, loaded_twice: bool, context: Context | None
) -> None:
    shared = network()
    prior = Joint(FeatureEncoder(copy.deepcopy(shared) if loaded_twice else shared, ["0", "1"], pool=[1, 0]))
    prior.encoder.code_shape = CODE_SHAPE
    prior.encoder.register_buffer("whitening", torch.randn(5, 85, generator=torch.Generator().manual_seed(1)))
    prior.encoder.register_buffer("mean", torch.ones(85))
    prior.encoder.dim = 5
    condition = Classifier(shared, 2, gradient)
    prior.encoder.double(), condition.double()
    together = Posterior(TinyGenerator(), prior, condition, context=context)
    apart = replace(together, prior=Apart(prior))
    stems = [part.network.body[0] for part in (prior.encoder, condition)]
    found = {}
    for name, target, expected in (("apart", apart, 2), ("together", together, 1)):
        for stem in stems:
            stem.passes = 0
        found[name] = rows.tensors(target.evaluate(CODES))
        assert sum(stem.passes for stem in set(stems)) == expected
    for field, value in found["apart"].items():
        assert torch.equal(found["together"][field], value), field


def test_a_network_that_is_shown_something_else_is_not_read() -> None:
    shared = network()
    prior = Joint(FeatureEncoder(shared, ["1"], pool=1).double())
    condition = Classifier(shared, 0).double()
    views = Jitter(1, 0.2, 1.4)
    for asked, transform in ((EachRow(condition, ~condition, condition), None), (condition, views)):
        target = Posterior(TinyGenerator(), prior, asked, transform)
        evaluation = target.evaluate(CODES, noise())
        assert torch.equal(evaluation.prior_residual, prior.encoder(evaluation.image) - CODES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_generator_gives_the_same_evaluations() -> None:
    torch.manual_seed(0)
    generator = ResNet(5, [8], [0]).eval().requires_grad_(False)
    for parameter in generator.parameters():
        parameter.normal_(std=0.3)
    target = Posterior(generator, Gaussian(), TinyCondition(1, dtype=torch.float32))
    batches = CODES.float(), CODES[:1].float()
    plain = [rows.tensors(target.evaluate(h)) for h in batches]
    torch.compiler.reset()
    generator.compile(backend="aot_eager")  # traced and differentiated as for the compiler, then run by PyTorch
    for h, expected in zip(batches, plain, strict=True):
        for name, value in rows.tensors(target.evaluate(h)).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.compiler.reset()
