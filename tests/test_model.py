"""A model in one file: saved, rebuilt without Hydra, sampled; nothing foreign is ever built."""

import json

import pytest
import safetensors.torch
import torch

import ppgn
import ppgn.model
from ppgn.errors import InputError
from ppgn.model import PPGN, build, load
from ppgn.samplers import presets

CONFIG = {
    "generator": {"_target_": "ppgn.generators.resnet.ResNet", "code_dim": 6, "widths": [8, 4], "depths": [0, 0]},
    "encoder": {
        "_target_": "ppgn.encoders.features.FeatureEncoder",
        "network": {
            "_target_": "ppgn.networks.imagenet.load", "name": "timm/test_efficientnet", "weights": None, "size": 32,
        },
        "layers": ["blocks.1"],
        "pool": 1,
        "dim": 6,
    },
}  # fmt: skip


class Brightness(torch.nn.Module):
    """log p falls with the distance of the mean pixel from `level`."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -100 * (x.mean(dim=(1, 2, 3)) - self.level).square()


@pytest.fixture(scope="module")
def model() -> PPGN:
    torch.manual_seed(0)
    made = PPGN.from_config(CONFIG, {"description": "tiny"})
    for name, parameter in made.generator.named_parameters():
        if "bias" not in name:
            parameter.data.normal_(std=0.2)
    made.encoder.fit([torch.rand(50, 3, 8, 8)])
    return made.eval().requires_grad_(False)


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "tiny.safetensors", card={"name": "tiny"})
    return tmp_path / "tiny.safetensors"


def test_a_saved_model_comes_back(model, path):
    again = load(path)
    x, h = torch.rand(2, 3, 8, 8), torch.randn(2, 6)
    assert torch.allclose(again.decode(h), model.decode(h), atol=5e-3)  # half precision
    assert torch.allclose(again.encode(x), model.encode(x), atol=5e-2)
    assert again.card == {"description": "tiny", "name": "tiny"}
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in again.parameters())


def test_saving_what_was_loaded_changes_nothing(path, tmp_path):
    load(path).save(tmp_path / "again.safetensors")
    first, again = safetensors.torch.load_file(path), safetensors.torch.load_file(tmp_path / "again.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_weights_that_pip_brings_are_not_copied():
    encoder = {
        **CONFIG["encoder"],
        "network": {"_target_": "ppgn.networks.imagenet.load", "name": "efficientnet_lite0"},
    }
    stored = PPGN.from_config({**CONFIG, "encoder": encoder})._stored()
    assert {name for name in stored if name.startswith("encoder.")} == {"encoder.mean", "encoder.whitening"}
    assert not any("network" in name for name in stored)


def test_random_weights_are_copied_and_only_once(model):
    names = list(model._stored())
    assert any(name.startswith("encoder.network.") for name in names)
    assert not any(name.startswith("priors.") for name in names)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "ppgn.networks.os",
        "ppgn.networks.network.torch.load",
        "ppgn.model.build",
        "ppgn.encoders.features.Network",
        7,
    ],
)
def test_a_checkpoint_cannot_build_what_is_not_a_part(target):
    with pytest.raises(InputError, match="refuses to build"):
        build({"_target_": target, "command": "true"})


def test_sampling_moves_towards_the_condition_and_a_seed_stands_alone(model):
    settings = {"sampler": presets.ppgn(steps=30, shift=0.0, zoom=1.0), "prior": "gaussian"}
    samples = model.sample(Brightness(0.45), range(4), **settings)
    start = model.sample(Brightness(0.45), range(4), steps=1, **settings)
    assert samples.images.shape == (4, 3, 8, 8)
    assert samples.log_prob.mean() > start.log_prob.mean()
    alone = model.sample(Brightness(0.45), [2], **settings)
    assert torch.allclose(alone.codes[0], samples.codes[2], atol=1e-4)


def test_several_conditions_are_one_chain(model):
    samples = model.sample(
        [Brightness(0.45), Brightness(0.7)], [0], steps=40, prior="gaussian", sampler=presets.ppgn(shift=0.0, zoom=1.0)
    )
    assert samples.targets == (0, 1)
    assert samples.steps == (40, 80)
    dark, bright = samples.images.float().mean(dim=(1, 2, 3)) / 255
    assert dark < bright


def test_a_chain_can_start_from_an_encoded_image(model):
    x = torch.rand(1, 3, 8, 8)
    samples = model.sample(Brightness(0.5), [0], steps=1, init=model.encode(x))
    assert torch.isfinite(samples.codes).all()
    assert torch.linalg.vector_norm(samples.codes - model.encode(x)) < torch.linalg.vector_norm(model.encode(x)) + 3


def test_the_public_face():
    assert ppgn.load is load
    assert ppgn.PPGN is PPGN


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda p: p.write_bytes(b"no"), "is not a safetensors file"),
        (lambda p: safetensors.torch.save_file({"a": torch.zeros(1)}, p), "has format 'None'"),
        (lambda p: p.unlink(), "no checkpoint file"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused(path, prepare, words):
    prepare(path)
    with pytest.raises(InputError, match=words):
        load(path)


def test_a_checkpoint_that_does_not_fit_is_refused(path):
    tensors = safetensors.torch.load_file(path)
    del tensors["generator.stem.weight"]
    metadata = {"format": ppgn.model.FORMAT, "config": json.dumps(CONFIG), "card": "{}"}
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match=r"does not fit .* at 'generator.stem.weight'"):
        load(path)


def test_unknown_names_are_answered_with_near_ones(model):
    with pytest.raises(InputError, match="unknown model 'naturl64'"):
        load("naturl64")
    with pytest.raises(InputError, match="unknown prior 'gausian'; nearest: gaussian"):
        model.sample(Brightness(0.5), [0], prior="gausian")


def test_a_model_put_together_by_hand_is_not_saved(model, tmp_path):
    with pytest.raises(InputError, match="from_config"):
        PPGN(model.generator, model.encoder).save(tmp_path / "x.safetensors")


def test_codes_must_fit():
    config = {**CONFIG, "generator": {**CONFIG["generator"], "code_dim": 5}}
    with pytest.raises(InputError, match=r"reads codes \(5,\), the encoder writes \(6,\)"):
        PPGN.from_config(config)
