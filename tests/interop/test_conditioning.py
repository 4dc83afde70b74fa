"""Pipelines of diffusers, whole: what they draw from the same noise, our chains draw, and seeds are their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.interop.diffusers import load
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.samplers.ancestral import _Unconditional
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.noise import Noise
from tests.interop.whole import KINDS, made

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
SEEDS = (0, 1)
STEPS = 4
GUIDANCE = 3.0
PROMPT, AGAINST = "a cat", "dogs"
Whole = tuple[str, Any, Path]  # its kind, the pipeline, the folder where it is saved


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    pipeline, folder = made(request.param), tmp_path_factory.mktemp(request.param)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return request.param, pipeline, folder


def opened(kind: str, folder: Path, **more: Any) -> Any:
    if kind == "dit":
        return load(folder, label=3, **more)
    return load(folder, prompt=PROMPT, negative="" if kind.startswith("flux") else AGAINST, **more)


def drawn(kind: str, pipeline: Any, z: Tensor) -> Tensor:
    """What the pipeline draws from noise z (B, *code_shape), which is at its first level: images."""
    given: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "pt"}
    if kind in ("sd", "sdxl", "pixart"):
        given |= {"prompt": [PROMPT] * len(z), "negative_prompt": [AGAINST] * len(z)}
        pipeline.scheduler.set_timesteps(STEPS)
        given["latents"] = z * pipeline.scheduler.sigmas[0] / pipeline.scheduler.init_noise_sigma
        return pipeline(**given, **({"use_resolution_binning": False} if kind == "pixart" else {}))[0]  # type: ignore[no-any-return]
    times = torch.linspace(0.97, 0.1, STEPS).tolist()
    start = 3 * times[0] / (1 + 2 * times[0])  # shifted
    given |= {"prompt": [PROMPT] * len(z), "sigmas": times, "latents": start * z, "height": 16, "width": 16}
    if kind.startswith("sd3"):
        given["negative_prompt"] = [AGAINST] * len(z)
    if kind.startswith("flux_") or kind == "flux":
        given["latents"] = pipeline._pack_latents(given["latents"], len(z), 4, 8, 8)
    if kind == "flux":
        given |= {"true_cfg_scale": GUIDANCE, "negative_prompt": [""] * len(z)}
    return pipeline(**given)[0]  # type: ignore[no-any-return]


def of_class(pipeline: Any, z: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """What DDIM draws from noise z, and its levels: DiT's pipeline takes no scheduler that scales its input."""
    pipeline.scheduler.set_timesteps(STEPS)
    alphas = pipeline.scheduler.alphas_cumprod[pipeline.scheduler.timesteps]
    start = (1 - alphas[0]).sqrt() * z
    monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda **words: start)
    images = pipeline([3] * len(z), GUIDANCE, num_inference_steps=STEPS, output_type="pt")[0]
    return images, ((1 - alphas) / alphas).sqrt()


@torch.no_grad()
def test_a_chain_draws_what_the_pipeline_draws(written: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, pipeline, folder = written
    net = opened(kind, folder, guidance=GUIDANCE)
    prior, shape = net.priors["diffusion"], net.generator.code_shape
    z = Noise(SEEDS).normal("proposal", shape)
    if kind == "dit":
        images, levels = of_class(pipeline, z, monkeypatch)
    else:
        images = drawn(kind, pipeline, z)
        levels = pipeline.scheduler.sigmas[:STEPS].double()
    levels = levels / (1 - levels) if prior.prediction == "flow" else levels.clamp(*prior.sigmas)
    kernel = Annealed(grid=levels.tolist(), epsilon2=0.0, epsilon3=0.0, views=0)
    target, noise = _Unconditional(prior, shape), Noise(SEEDS)
    state = kernel.init(torch.zeros(len(SEEDS), *shape), target, noise)
    for i in range(STEPS - 1):
        state, _ = kernel.step(state, target, noise, i, STEPS - 1)
    torch.testing.assert_close(net.decode(state.code).clamp(0, 1), images, atol=2e-4, rtol=0)
    assert images.std() > 0.01


def test_the_text_and_guidance_are_heard(written: Whole) -> None:
    kind, _, folder = written
    h = torch.randn(1, *load(folder, size=16).generator.code_shape, generator=torch.Generator().manual_seed(0))
    told = [{"label": 3}, {"label": 4}] if kind == "dit" else [{"prompt": "a cat"}, {"prompt": "dogs"}]
    found = [load(folder, **more, guidance=g).priors["diffusion"].residual(h, h) for more in told for g in (1.0, 3.0)]
    scale = found[0].square().mean().sqrt()
    for k, one in enumerate(found):
        for other in found[:k]:
            assert (one - other).abs().max() > 1e-4 * scale


def test_a_row_is_alike_alone_and_in_a_batch(written: Whole) -> None:
    kind, _, folder = written
    net = opened(kind, folder, guidance=GUIDANCE)
    h = torch.randn(3, *net.generator.code_shape, generator=torch.Generator().manual_seed(0))
    for sigma in (0.5, 5.0):
        level = net.priors["diffusion"].at(sigma)
        with AlikeInAnyBatch():  # as chains are walked
            assert torch.equal(level.residual(h, h)[1:2], level.residual(h[1:2], h[1:2]))
