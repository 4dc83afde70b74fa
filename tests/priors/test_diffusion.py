"""A diffusion network as prior, against the samplers of diffusers on the same levels, and by its formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppgn.contracts import NoiseConditionalPrior, State
from ppgn.errors import InputError
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.priors.diffusion import Diffusion
from ppgn.samplers.ancestral import _Unconditional
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.noise import Noise

NOTHING = torch.zeros(0)
SHAPE = (4, 8, 8)
SEEDS = (0, 1, 2)
STEPS = 8
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


class Affine(nn.Module):
    """A network that is a function of x and t that one can write down: it predicts a x + t / 1000."""

    def __init__(self, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.5, dtype=precision))

    def forward(self, x: Tensor, timestep: Tensor, return_dict: bool, shift: Tensor | None = None) -> tuple[Tensor]:
        assert x.dtype == self.a.dtype
        return (self.a * x + timestep[:, None, None, None].to(x) / 1000 + (0 if shift is None else shift),)


def unet() -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    sizes = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8}
    net: nn.Module = diffusers.UNet2DModel(sample_size=8, in_channels=4, out_channels=4, **sizes, **blocks)
    return net.eval()


def dit() -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 2, "sample_size": 8, "patch_size": 2}
    net: nn.Module = diffusers.DiTTransformer2DModel(in_channels=4, out_channels=8, num_embeds_ada_norm=10, **sizes)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.eval()


def prior_of(prediction: Any, make: Callable[[], nn.Module] = unet) -> Diffusion:
    given = {"class_labels": torch.tensor([10])} if make is dit else None
    return Diffusion(make(), SHAPE, prediction, None if prediction == "flow" else ALPHAS.float(), given=given)


def predict(prior: Diffusion, x: Tensor, t: Tensor) -> Tensor:
    """What the network itself says of x at a timestep."""
    more = {"class_labels": torch.full((len(x),), 10)} if "wish0_class_labels" in dict(prior.named_buffers()) else {}
    out: Tensor = prior.network(x, timestep=t.expand(len(x)), **more).sample
    return out[:, :4]


def walked(prior: Diffusion, levels: list[float], epsilon3: float) -> Tensor:
    """The last code of our chains over these levels, started at pure noise."""
    kernel = Annealed(grid=levels, epsilon1=1.0, epsilon2=0.0, epsilon3=epsilon3, views=0)
    target, noise = _Unconditional(prior, SHAPE), Noise(SEEDS)
    state: State = kernel.init(torch.zeros(len(SEEDS), *SHAPE), target, noise)
    for i in range(len(levels) - 1):
        state, _ = kernel.step(state, target, noise, i, len(levels) - 1)
    return state.code


@torch.no_grad()
def scheduled(prior: Diffusion, scheduler: Any, start: float, *more: Any) -> Tensor:
    """The last sample of a scheduler of diffusers, started at the same noise."""
    x = start * Noise(SEEDS).normal("proposal", SHAPE)
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(predict(prior, seen, t), t, x, return_dict=False)[0]
    return x


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() < 3e-4 * expected.square().mean().sqrt())


@pytest.mark.parametrize("options", [{"use_exponential_sigmas": True}, {"use_karras_sigmas": True}, {}])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_deterministic_chains_are_eulers(prediction: str, options: dict[str, bool]) -> None:
    diffusers = pytest.importorskip("diffusers")
    prior, named = prior_of(prediction), "original_sample" if prediction == "sample" else prediction
    scheduler = diffusers.EulerDiscreteScheduler(prediction_type=named, **BETAS, **options)
    scheduler.set_timesteps(STEPS)
    levels = scheduler.sigmas[:STEPS].tolist()
    inside = [min(prior.sigmas[1], max(prior.sigmas[0], level)) for level in levels]
    assert close(walked(prior, inside, 0.0), scheduled(prior, scheduler, inside[0]))


def test_our_grids_are_those_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    for grid, option in (("geometric", "use_exponential_sigmas"), ("karras", "use_karras_sigmas")):
        scheduler = diffusers.EulerDiscreteScheduler(**BETAS, **{option: True})
        scheduler.set_timesteps(STEPS)
        first, last = float(scheduler.sigmas[0]), float(scheduler.sigmas[STEPS - 1])
        kernel = Annealed(grid=grid, sigma_max=first, sigma_min=last)
        ours = [kernel._sigma(_Unconditional(prior_of("epsilon"), SHAPE), k, STEPS - 1) for k in range(STEPS)]
        assert ours == pytest.approx(scheduler.sigmas[:STEPS].tolist(), rel=1e-4)


@pytest.mark.parametrize("make", [unet, dit])
def test_noisy_chains_are_ancestral_eulers(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    prior, noise = prior_of("epsilon", make), Noise(SEEDS)
    noise.normal("proposal", SHAPE)  # of the start
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**BETAS)
    scheduler.set_timesteps(STEPS)
    place = "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor"
    monkeypatch.setattr(place, lambda *args, **words: noise.normal("proposal", SHAPE))
    levels = [min(prior.sigmas[1], max(prior.sigmas[0], level)) for level in scheduler.sigmas[:STEPS].tolist()]
    assert close(walked(prior, levels, 1.0), scheduled(prior, scheduler, levels[0]))


def test_flows_are_eulers_of_flow_matching() -> None:
    diffusers = pytest.importorskip("diffusers")
    prior, scheduler = prior_of("flow"), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=torch.linspace(0.99, 0.05, STEPS).numpy())
    times = scheduler.sigmas[:STEPS].double()
    expected = scheduled(prior, scheduler, float(times[0]))
    assert close(walked(prior, (times / (1 - times)).tolist(), 0.0), expected)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 9.0])
def test_predictions_mean_what_they_say(sigma: float) -> None:
    """h0 and the noise are told apart by a network that knows neither: R is solved from what it says."""
    h = torch.randn(2, 2, 3, 3)
    c = (1 + sigma**2) ** -0.5
    for prediction in ("epsilon", "v_prediction", "sample", "flow"):
        prior = Diffusion(Affine(), (2, 3, 3), prediction, ALPHAS)  # type: ignore[arg-type]
        if prediction == "flow":
            x = h / (1 + sigma)
            said = 0.5 * x + sigma / (1 + sigma)
            expected = x - sigma / (1 + sigma) * said  # x_t = (1 − t) h0 + t z, said = z − h0
        else:
            table = ((1 - ALPHAS) / ALPHAS).sqrt().log()
            t = float((table < torch.tensor(sigma).log()).sum()) - 1
            t += float((torch.tensor(sigma).log() - table[int(t)]) / (table[int(t) + 1] - table[int(t)]))
            x = c * h
            said = 0.5 * x + t / 1000
            solved = {"epsilon": (x - sigma * c * said) / c, "v_prediction": c * x - sigma * c * said, "sample": said}
            expected = solved[prediction]
        torch.testing.assert_close(h + prior.at(sigma).residual(h, NOTHING), expected, rtol=1e-4, atol=1e-4)


def test_guidance_goes_beyond_what_is_asked_for() -> None:
    h, given, blank = torch.randn(3, *SHAPE), torch.ones(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)

    def prior(**more: Any) -> Tensor:
        return Diffusion(Affine(), SHAPE, "sample", ALPHAS, **more).at(1.0).residual(h, NOTHING)

    with_it, without = prior(given={"shift": given}), prior(given={"shift": blank})
    found = prior(given={"shift": given}, blank={"shift": blank}, guidance=3.0)
    torch.testing.assert_close(found, without + 3 * (with_it - without))


def test_its_precision_is_its_own() -> None:
    prior = Diffusion(Affine(torch.bfloat16), SHAPE, "epsilon", ALPHAS).to(torch.float64)
    assert prior.network.a.dtype == torch.bfloat16
    found = prior.at(0.1).residual(torch.randn(2, *SHAPE), NOTHING)
    assert found.dtype == torch.float32
    rough = Diffusion(Affine(), SHAPE, "epsilon", ALPHAS)
    h = torch.randn(2, *SHAPE)
    torch.testing.assert_close(
        prior.at(0.1).residual(h, NOTHING), rough.at(0.1).residual(h, NOTHING), rtol=0.02, atol=2e-3
    )


@pytest.mark.parametrize("make", [unet, dit])
def test_a_row_is_the_same_in_any_batch(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    prior, h = prior_of("epsilon", make), torch.randn(5, *SHAPE)
    with AlikeInAnyBatch(), torch.no_grad():
        for sigma in (0.5, 5.0):
            whole = prior.at(sigma).residual(h, NOTHING)
            for rows in (1, 2, 3, 5):
                assert torch.equal(prior.at(sigma).residual(h[:rows], NOTHING), whole[:rows])


def test_it_offers_what_the_contract_says() -> None:
    prior = Diffusion(Affine(), SHAPE, "epsilon", ALPHAS)
    assert isinstance(prior, NoiseConditionalPrior)
    assert prior.sigmas == pytest.approx((0.0292, 14.61), rel=1e-2)
    h = torch.randn(2, *SHAPE)
    assert torch.equal(prior.residual(h, NOTHING), prior.at(0.5).residual(h, NOTHING))
    with pytest.raises(InputError, match="unknown prediction"):
        Diffusion(Affine(), SHAPE, "noise", ALPHAS)  # type: ignore[arg-type]
