"""Models of diffusers, with random weights: codes as their pipelines have them, saved by reference, sampled."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import ppgn
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.interop.diffusers import load
from ppgn.priors.diffusion import Diffusion
from tests.interop.pipelines import dit, kl, pipeline, reader, tiny, unet
from tests.interop.whole import made

pytest.importorskip("diffusers")
NOTHING = torch.zeros(0)


class Red(nn.Module):
    """log p of a picture that is red."""

    def forward(self, x: Tensor) -> Tensor:
        return F.logsigmoid(4 * (x[:, 0] - x[:, 1:].mean(1)).mean((1, 2)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of DiT and a tiny autoencoder: codes (4, 8, 8), pictures of 16 pixels."""
    return pipeline(tmp_path_factory.mktemp("pipeline"), dit(), tiny())


def written(vae: Any, place: Path) -> str:
    vae.save_pretrained(place)
    return str(place)


def test_codes_are_scaled_and_shifted_latents(tmp_path: Path) -> None:
    vae = kl(scaling_factor=0.3, shift_factor=0.1).eval()
    net, x = load(written(vae, tmp_path)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        z = vae.encode(2 * x - 1).latent_dist.mode()
        h = (z - 0.1) * 0.3
        torch.testing.assert_close(net.encode(x), h)
        torch.testing.assert_close(net.decode(h), vae.decode(z).sample / 2 + 0.5)
    assert (net.generator.code_shape, net.generator.signal_shape) == ((4, 8, 8), (3, 16, 16))
    assert list(net.priors) == ["gaussian", "joint"]


def test_latents_with_statistics_of_their_channels(tmp_path: Path) -> None:
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 3.0, 4.0]
    vae = kl(scaling_factor=0.5, latents_mean=mean, latents_std=std).eval()
    net, x = load(written(vae, tmp_path)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        z = vae.encode(2 * x - 1).latent_dist.mode()
    expected = (z - torch.tensor(mean)[:, None, None]) * 0.5 / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(net.encode(x), expected)


def test_tiny_latents_are_codes_already(tmp_path: Path) -> None:
    vae = tiny().eval()
    net, x = load(written(vae, tmp_path), size=24), torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        z = vae.encode(2 * x - 1).latents
        torch.testing.assert_close(net.encode(x), z)
        torch.testing.assert_close(net.decode(z), vae.decode(z).sample / 2 + 0.5)
    assert net.generator.code_shape == (4, 12, 12)


def test_flux2_codes_are_normalised_patches(tmp_path: Path) -> None:
    vae = kl("AutoencoderKLFlux2").eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    net, x = load(written(vae, tmp_path)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        z = vae.encode(2 * x - 1).latent_dist.mode()
        patches = z.view(2, 4, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 16, 4, 4)
        h = vae.bn(patches)
        torch.testing.assert_close(net.encode(x), h, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.decode(h), vae.decode(z).sample / 2 + 0.5, rtol=1e-4, atol=1e-4)


def test_codes_of_a_representation_autoencoder(tmp_path: Path) -> None:
    diffusers, _ = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 64, "encoder_num_hidden_layers": 1, "encoder_input_size": 32, "patch_size": 8}
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    kind = {"encoder_type": "mae", "encoder_patch_size": 16, "scaling_factor": 0.7}
    vae = diffusers.AutoencoderRAE(**kind, **sizes, **decoder, decoder_intermediate_size=64).eval()
    net, x = load(written(vae, tmp_path)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net.encode(x), vae.encode(x).latent)
        torch.testing.assert_close(net.decode(net.encode(x)), vae.decode(vae.encode(x).latent).sample)
    assert net.generator.code_shape == tuple(net.encode(x).shape[1:])
    assert net.generator.signal_shape == tuple(net.decode(net.encode(x)).shape[1:])


def test_without_an_autoencoder_codes_are_pixels(tmp_path: Path) -> None:
    net = load(pipeline(tmp_path, unet(3)))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(net.encode(x), 2 * x - 1)
    torch.testing.assert_close(net.decode(net.encode(x)), x)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_the_scheduler_says_what_the_network_predicts(kind: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler = flow if kind == "flow" else diffusers.DDIMScheduler(prediction_type=kind, beta_schedule="scaled_linear")
    prior: Any = load(pipeline(tmp_path, unet(), tiny(), scheduler)).priors["diffusion"]
    assert prior.prediction == kind
    if kind != "flow":
        last = float(scheduler.alphas_cumprod[-1])
        assert prior.sigmas[1] == pytest.approx(((1 - last) / last) ** 0.5, rel=1e-4)


def test_a_class_is_fixed_inside_the_prior(folder: Path) -> None:
    h, network = torch.randn(2, 4, 8, 8), dit().eval()
    prior: Any = load(folder, label=3, guidance=2.5).priors["diffusion"]
    t = torch.full((2,), 500.0)
    with torch.no_grad():
        three, none = (network(h, t, torch.tensor([k, k])).sample[:, :4] for k in (3, 10))
        torch.testing.assert_close(prior._predict(h, 500.0), none + 2.5 * (three - none))


def test_a_text_is_fixed_inside_the_prior(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    network = unet(kind="UNet2DConditionModel", cross_attention_dim=16)
    texts = reader(tmp_path, 16)
    alone = {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    pipeline(tmp_path, network, tiny(), _class_name="StableDiffusionPipeline", **texts, **alone)
    whole = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    given, blank = whole.encode_prompt("a cat", "cpu", 1, True, "a dog")
    h, t = torch.randn(2, 4, 8, 8), torch.full((2,), 500.0)
    prior: Any = load(tmp_path, prompt="a cat", negative="a dog", guidance=2.0).priors["diffusion"]
    with torch.no_grad():
        said = [network.eval()(h, t, text.expand(2, -1, -1)).sample for text in (given, blank)]
        torch.testing.assert_close(prior._predict(h, 500.0), said[1] + 2 * (said[0] - said[1]))
    assert not torch.allclose(said[0], said[1])


def test_it_is_saved_by_reference_and_loads_where_that_is_trusted(folder: Path, tmp_path: Path) -> None:
    net, file = load(folder, label=1), tmp_path / "model.safetensors"
    net.save(file)
    assert file.stat().st_size < 5000
    with pytest.raises(InputError, match=r"opens other files.*trust=\[ppgn.interop.diffusers\]"):
        ppgn.load(file)
    again = ppgn.load(file, trust="ppgn.interop.diffusers")
    h = torch.randn(2, 4, 8, 8)
    assert torch.equal(again.decode(h), net.decode(h))
    for prior in ("diffusion", "joint"):
        x = net.decode(h)
        assert torch.equal(again.priors[prior].residual(h, x), net.priors[prior].residual(h, x))


def test_low_precision_stays_inside(folder: Path) -> None:
    net = load(folder, precision="bfloat16").to(torch.float32)
    prior = net.priors["diffusion"]
    assert isinstance(prior, Diffusion)
    assert next(prior.network.parameters()).dtype == torch.bfloat16
    assert prior.residual(torch.randn(2, 4, 8, 8), NOTHING).dtype == torch.float32
    assert net.dtype == torch.float32


def test_any_condition_guides_it_and_a_seed_is_its_own(folder: Path) -> None:
    net, red = load(folder), Red()
    whole = ppgn.sample(red, model=net, seeds=range(3), steps=6, sampler="annealed")
    alone = ppgn.sample(red, model=net, seeds=[2], steps=6, sampler="annealed")
    assert whole.about["prior"] == "diffusion"
    assert torch.equal(whole.images[2:], alone.images)
    assert torch.equal(whole.codes[2:], alone.codes)
    without = ppgn.sample(
        red,
        model=net,
        seeds=range(3),
        steps=6,
        sampler={"_target_": "ppgn.samplers.annealed:Annealed", "epsilon2": 0.0},
    )
    assert whole.log_prob.mean() > without.log_prob.mean()


def test_on_the_command_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"model={folder}", f"condition={__file__}:Red", "sampler=annealed", "sampler.grid=karras", "steps=3"]
    assert main(["sample", *words, "seeds=0,1", "device=cpu", "out=drawn"]) == 0
    assert (tmp_path / "drawn" / "grid.png").is_file()


def test_what_the_readme_shows(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    made("sd").save_pretrained(tmp_path / "sd")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    section = readme.partition("## Other people's generators")[2].partition("\n## ")[0]
    commands = re.findall(r"^ppgn ((?:sample|inpaint) .*hf:[^#\n]*)", section, re.MULTILINE)
    assert len(commands) == 5
    for number, command in enumerate(commands):
        words = shlex.split(command.replace("hf:facebook/DiT-XL-2-256", str(folder)))
        words = [re.sub('hf:stable-diffusion-v1-5/[^"]*', str(tmp_path / "sd"), word) for word in words]
        assert main([*words, "seeds=0", "steps=2", "device=cpu", f"out=drawn{number}"]) == 0
        assert (tmp_path / f"drawn{number}").is_dir()


def test_models_that_cannot_be_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "empty")
    with pytest.raises(InputError, match="expected a multiple of 2"):
        load(folder, size=15)
    with pytest.raises(InputError, match=r"takes codes of \(4, 8, 8\)"):
        load(folder, size=32)
    with pytest.raises(InputError, match="label=10"):
        load(folder, label=10)
    with pytest.raises(InputError, match="reads no texts"):
        load(folder, prompt="a cat")
    with pytest.raises(InputError, match="unknown precision"):
        load(folder, precision="int8")
    with pytest.raises(InputError, match="UNet2DModel"):
        load(written(unet(), tmp_path / "unet"))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"^a model of diffusers needs another package: pip install"):
        load(folder)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(InputError, match="only safetensors"):
        load(tmp_path)
