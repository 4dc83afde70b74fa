"""A model in one file: saved, rebuilt without Hydra, sampled; nothing foreign is ever built."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import ppgn
import ppgn.model
from ppgn import files
from ppgn.building import build
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.model import PPGN, UntrainedError, load
from ppgn.networks import caffenet, imagenet
from ppgn.priors.bank import Bank
from ppgn.priors.mixture import Mixture
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import Mala
from ppgn.samplers.published import Released
from tests.tiny import TinyGenerator

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


PIXELS = {"generator": {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, 8, 8]}}


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


def test_sampling_moves_towards_the_condition_and_a_seed_stands_alone(model):
    settings = {"sampler": Langevin(steps=30, shift=0.0, zoom=1.0), "prior": "gaussian"}
    samples = model.sample(Brightness(0.45), range(4), **settings)
    start = model.sample(Brightness(0.45), range(4), steps=1, **settings)
    assert samples.images.shape == (4, 3, 8, 8)
    assert samples.log_prob.mean() > start.log_prob.mean()
    alone = model.sample(Brightness(0.45), [2], **settings)
    assert torch.allclose(alone.codes[0], samples.codes[2], atol=1e-4)


def test_views_without_effect_are_none(model):
    for transform in (None, Langevin(shift=0, zoom=1, views=2).transform):
        assert model.posterior(Brightness(0.45), transform=transform).transform is None
    views = Langevin(shift=0.1, zoom=1).transform
    assert model.posterior(Brightness(0.45), transform=views).transform is views


def test_several_conditions_are_one_chain(model):
    samples = model.sample(
        [Brightness(0.45), Brightness(0.7)], [0], steps=40, prior="gaussian", sampler=Langevin(shift=0.0, zoom=1.0)
    )
    assert samples.targets == (0, 1)
    assert samples.steps == (40, 80)
    dark, bright = samples.images.float().mean(dim=(1, 2, 3)) / 255
    assert dark < bright


def test_a_chain_can_start_from_an_encoded_image(model):
    x = torch.rand(1, 3, 8, 8)
    code = model.encode(x)
    started, anew = (model.sample(Brightness(0.5), [0], sampler="ppgn", steps=1, init=init) for init in (code, None))
    assert torch.linalg.vector_norm(started.codes - code) < 0.8 * torch.linalg.vector_norm(anew.codes - code)


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


def test_a_model_based_on_a_shipped_one_stores_what_differs(model, tmp_path, monkeypatch):
    monkeypatch.setattr("ppgn.paths.checkpoints", lambda: tmp_path)
    model.save(tmp_path / "base.safetensors")
    other = load("base")
    other.generator.to_rgb.weight.data.add_(1)
    other.save(tmp_path / "other.safetensors", base="base")
    assert safetensors.torch.load_file(tmp_path / "other.safetensors").keys() == {"generator.to_rgb.weight"}
    expected, found = other.state_dict(), load("other").state_dict()
    assert all(torch.equal(value.half(), found[name].half()) for name, value in expected.items())
    other.generator.stem.weight.data.add_(1)
    other.save(tmp_path / "base.safetensors")
    with pytest.raises(InputError, match="based on another version of 'base'"):
        load("other")
    (tmp_path / "base.safetensors").unlink()
    with pytest.raises(InputError, match="based on a model that does not come along"):
        load("other")


@pytest.mark.parametrize("base", ["7", "{}", '{"name": "../x"}', '{"name": ["base"]}'])
def test_what_a_file_says_of_its_base_is_not_trusted(path, base):
    tensors = safetensors.torch.load_file(path)
    metadata = {"format": ppgn.model.FORMAT, "config": json.dumps(CONFIG), "card": "{}", "base": base}
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match="does not come along"):
        load(path)


def test_a_checkpoint_that_does_not_fit_is_refused(path):
    tensors = safetensors.torch.load_file(path)
    del tensors["generator.stem.weight"]
    metadata = {"format": ppgn.model.FORMAT, "config": json.dumps(CONFIG), "card": "{}"}
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match=r"does not fit .*'generator.stem.weight' is missing"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": "{"},
        {"config": "[]"},
        {"config": "{}"},
        {"config": '{"encoder": {}}'},
        {"card": None},
        {"card": "no"},
        {"card": "7"},
    ],
)
def test_damaged_metadata_are_one_line(path, change):
    metadata = {"format": ppgn.model.FORMAT, "config": json.dumps(CONFIG), "card": "{}"} | change
    kept = {key: value for key, value in metadata.items() if value is not None}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata=kept)
    with pytest.raises(InputError, match=r"tiny.safetensors' is damaged") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "generator",
    [
        {**CONFIG["generator"], "attention": True},  # an argument of a later version
        {**CONFIG["generator"], "code_dim": "six"},
        {**CONFIG["generator"], "widths": [-8, 4]},
    ],
)
def test_a_checkpoint_of_another_version_is_one_line(path, generator):
    metadata = {
        "format": ppgn.model.FORMAT, "config": json.dumps({**CONFIG, "generator": generator}), "card": "{}",
    }  # fmt: skip
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata=metadata)
    message = r"cannot build 'ppgn.generators.resnet.ResNet': it was written by another version|expected a number"
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [{}, {"generator": {}}, {**CONFIG, "encoder": {}}])
def test_a_configuration_without_its_parts_is_refused(config):
    with pytest.raises(InputError, match="configuration names no"):
        PPGN.from_config(config)


@pytest.mark.parametrize("classes", [1000, 7])
def test_weights_given_by_a_file_travel_with_the_checkpoint(tmp_path, classes):
    torch.manual_seed(0)
    weights = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(timm.create_model("test_efficientnet", num_classes=classes).state_dict(), weights)
    network = {**CONFIG["encoder"]["network"], "weights": str(weights)}
    model = PPGN.from_config({**CONFIG, "encoder": {**CONFIG["encoder"], "network": network}}).eval()
    model.encoder.fit([torch.rand(50, 3, 8, 8)])
    model.save(tmp_path / "model.safetensors")
    weights.unlink()
    again = load(tmp_path / "model.safetensors")
    assert again.config["encoder"]["network"]["weights"] is None
    assert model.config["encoder"]["network"]["weights"] == str(weights)
    x = torch.rand(4, 3, 8, 8)
    assert torch.allclose(again.encode(x), model.encode(x), atol=5e-2)  # half precision
    for key, value in model.encoder.network.state_dict().items():
        assert torch.allclose(again.encoder.network.state_dict()[key].float(), value.float(), rtol=1e-3, atol=1e-6), key


def test_caffenets_weights_travel_too(tmp_path, monkeypatch):
    monkeypatch.setattr(caffenet, "WIDTHS", (4, 4, 4, 4, 4, 8, 8))
    state = caffenet.CaffeNet(5).state_dict()
    safetensors.torch.save_file(state, tmp_path / "caffe.safetensors")
    network = {"_target_": "ppgn.networks.caffenet.load", "weights": str(tmp_path / "caffe.safetensors")}
    encoder = {"_target_": "ppgn.encoders.features.FeatureEncoder", "network": network, "layers": ["conv5"], "pool": 1}
    generator = {**CONFIG["generator"], "code_dim": 4}
    PPGN.from_config({"generator": generator, "encoder": encoder}).save(tmp_path / "model.safetensors")
    (tmp_path / "caffe.safetensors").unlink()
    again = load(tmp_path / "model.safetensors")
    assert torch.equal(again.encoder.network.body.conv1.weight, state["conv1.weight"].half().float())
    rebuilt = {"_target_": "ppgn.networks.caffenet.load", "weights": None, "classes": 5}
    assert again.config["encoder"]["network"] == rebuilt


@pytest.mark.parametrize("config", [PIXELS, {**PIXELS, "encoder": None}])
def test_a_model_of_pixels_needs_no_encoder(tmp_path, config):
    model = PPGN.from_config(config)
    settings = {"sampler": Langevin(steps=60, shift=0.0, zoom=1.0)}
    bright, dark = (model.sample(Brightness(level), range(3), **settings) for level in (0.9, 0.1))
    assert list(model.priors) == ["gaussian"]
    assert bright.codes.shape == bright.images.shape == (3, 3, 8, 8)
    assert bright.codes.mean() > dark.codes.mean() + 0.1
    model.save(tmp_path / "pixels.safetensors")
    again = load(tmp_path / "pixels.safetensors")
    assert torch.equal(again.sample(Brightness(0.9), range(3), **settings).codes, bright.codes)
    assert again.double().sample(Brightness(0.9), [0], steps=1).codes.dtype == torch.float64
    with pytest.raises(InputError, match="it has no encoder"):
        again.encode(torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"unknown prior 'joint'; .*: gaussian"):
        again.sample(Brightness(0.9), [0], prior="joint")


def test_the_prior_suits_the_sampler_unless_asked(model):
    walk = {"sampler": Langevin(), "steps": 2}
    by_default, joint, gaussian = (
        model.sample(Brightness(0.5), [0], prior=prior, **walk).codes for prior in (None, "joint", "gaussian")
    )
    assert torch.equal(by_default, joint)
    assert not torch.allclose(by_default, gaussian)

    for sampler, name in ((None, "gaussian"), (Annealed(), "gaussian"), (Langevin(), "joint")):
        assert model.name_of(model.choose_prior(None, sampler)) == name
    prior = {"_target_": "ppgn.priors.mixture.Mixture", "code_shape": [6], "components": 3, "sigma": 0.5}
    with_mixture = model.with_prior("mixture", Mixture([6], 3, 0.5), prior)
    for sampler, name in ((None, "mixture"), (Annealed(), "mixture"), (Mala(), "mixture"), (Langevin(), "joint")):
        assert with_mixture.name_of(with_mixture.choose_prior(None, sampler)) == name
    assert with_mixture.posterior(Brightness(0.5)).at(1.0).code_shape == (6,)


def test_a_prior_is_a_name_a_class_a_mapping_or_an_object(model):
    mixture = {"_target_": "ppgn.priors.mixture.Mixture", "components": 3, "sigma": 0.5}
    for given in (mixture, "ppgn.priors.gaussian:Gaussian", Mixture([6], 3, 0.5), {**mixture, "code_shape": [6]}):
        chosen = model.choose_prior(given)
        assert model.name_of(chosen) in ("Mixture", "Gaussian")
        assert torch.isfinite(model.sample(Brightness(0.5), [0], prior=given, steps=2).codes).all()
    assert model.double().choose_prior(mixture).log_weights.dtype == torch.float64
    model.float()
    with pytest.raises(InputError, match="residual"):
        model.choose_prior(7)
    with pytest.raises(InputError, match=r"reads codes \(5,\)"):
        model.choose_prior({**mixture, "code_shape": [5]})


def test_what_is_not_trained_yet_says_how_to_train_it(model, path):
    with pytest.raises(
        UntrainedError, match=r"ppgn train prior prior=dae model=.*tiny.safetensors .*model=runs/prior/tiny"
    ):
        load(path).choose_prior("dae")
    with pytest.raises(UntrainedError, match=r"model=null .*model=runs/prior/pixels"):
        PPGN.from_config(PIXELS).choose_prior("image_dae")


def test_targets_get_the_sampler_s_gradient_and_views_and_are_probed(model):
    condition = Classifier(model.encoder.network, 3)
    released, annealed = (model.targets([condition], sampler)[0] for sampler in (Released(), Annealed()))
    assert (released.condition.gradient, annealed.condition.gradient) == ("truncated", "full")
    assert released.transform is None
    assert annealed.transform == Annealed().transform
    for wrong in (lambda x: x.mean(), lambda x: x.mean((1, 2, 3)).detach()):
        with pytest.raises(InputError, match="condition <lambda>"):
            model.targets([wrong], Annealed())


class Wave(torch.nn.Module):
    """A generator of signals that are no pictures."""

    code_shape, signal_shape = (6,), (1, 40)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return (h.sum(1)[:, None, None] * torch.linspace(0, 6, 40)).sin()


def test_a_medium_without_views_gets_none():
    samples = PPGN(Wave()).sample(lambda x: -x[:, 0].square().mean(1), [0, 1], steps=3)
    assert samples.signals.shape == (2, 1, 40)
    assert PPGN(Wave()).posterior(Brightness(0.5), transform=Annealed().transform).transform is None


def test_a_model_itself_and_a_file_of_an_earlier_version_are_loaded(model, tmp_path):
    assert load(model) is model
    config = {"generator": {"_target_": "ppgn.generators.identity.Identity", "image_shape": [3, 8, 8]}}
    files.save(tmp_path / "old.safetensors", {}, ppgn.model.FORMAT, config=config, card={})
    assert load(tmp_path / "old.safetensors").generator.signal_shape == (3, 8, 8)


def test_codes_are_as_precise_as_the_weights(path):
    model = load(path).double()
    assert model.dtype == torch.float64
    assert model.sample(Brightness(0.5), [0], steps=2).codes.dtype == torch.float64
    assert model.decode(torch.zeros(1, 6)).dtype == model.encode(torch.rand(1, 3, 8, 8)).dtype == torch.float64


def test_no_steps_are_refused(model):
    with pytest.raises(InputError, match="steps is 0; expected 1 or more"):
        model.sample(Brightness(0.5), [0], steps=0)


@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [(torch.float32, 10, 1e-4), (torch.float64, 2, 1e-10)])
def test_a_seed_of_the_shipped_model_draws_the_same_in_any_batch(dtype, steps, tolerance):
    model = load("natural64").to(dtype)
    condition = Classifier(imagenet.load("efficientnet_lite0", 96), "junco").to(dtype).eval()
    batch, alone = (model.sample(condition, seeds, steps=steps) for seeds in ((1, 2, 3), [3]))
    assert torch.allclose(batch.codes[-1], alone.codes[0], rtol=0, atol=tolerance)
    assert torch.equal(batch.images[-1], alone.images[0])
    assert not torch.allclose(batch.codes[0], batch.codes[-1], atol=0.5)


DAE = {"_target_": "ppgn.priors.dae.DAE", "code_shape": [6], "widths": [8], "sigma": 0.5}
ENERGY = {"_target_": "ppgn.priors.energy.EnergyDAE", "code_shape": [6], "width": 8, "depth": 1, "sigma": 0.5}


def trained(config):
    """A prior with weights that are not those it is built with, and that half precision holds."""
    prior = build(config).requires_grad_(False).eval()
    for parameter in prior.parameters():
        parameter.copy_((0.3 * torch.randn_like(parameter)).half())
    return prior


def test_trained_priors_come_back_bit_for_bit(model, tmp_path):
    dae, energy = trained(DAE), trained(ENERGY)
    both = model.with_prior("dae", dae, DAE).with_prior("energy", energy, ENERGY)
    both.save(tmp_path / "both.safetensors")
    again = load(tmp_path / "both.safetensors")
    assert list(again.priors) == list(both.priors) == ["gaussian", "joint", "dae", "energy"]
    assert again.config["priors"] == {"dae": DAE, "energy": ENERGY}
    h, x = torch.randn(3, 6), torch.zeros(3, 0)
    assert torch.equal(again.priors["dae"].residual(h, x), dae.residual(h, x))
    assert torch.equal(again.priors["energy"].log_prob(h), energy.log_prob(h))
    assert not any(p.requires_grad for p in again.parameters())
    assert list(model.priors) == ["gaussian", "joint"]


def test_a_prior_takes_the_place_of_one_of_its_name_and_shares_the_rest(model):
    first, second = trained(DAE), trained(ENERGY)
    changed = model.with_prior("mine", first, DAE).with_prior("mine", second, ENERGY)
    assert changed.priors["mine"] is second
    assert changed.config["priors"] == {"mine": ENERGY}
    assert changed.generator is model.generator
    assert changed.card == model.card


def test_sampling_follows_a_trained_prior(model):
    prior = trained({**DAE, "sigma": 0.7})
    settings = {"sampler": Langevin(epsilon1=1.0, epsilon2=0.0, epsilon3=0.0, lr_end=1.0), "steps": 1}
    h = torch.randn(1, 6)
    samples = model.with_prior("dae", prior, DAE).sample(Brightness(0.5), [0], prior="dae", init=h, **settings)
    assert torch.allclose(samples.codes, h + prior.residual(h, h), atol=1e-5)


def test_a_checkpoint_without_priors_has_those_that_need_none(path):
    assert "priors" not in CONFIG
    assert list(load(path).priors) == ["gaussian", "joint"]


@pytest.mark.parametrize("name", ["gaussian", "joint", "a.b", "", "keys", "no-ise"])
def test_names_that_a_prior_cannot_have_are_refused(model, name):
    with pytest.raises(InputError, match=f"a prior cannot be named '{name}'"):
        model.with_prior(name, trained(DAE), DAE)


def test_a_prior_of_other_codes_is_refused(model):
    config = {**DAE, "code_shape": [5]}
    with pytest.raises(InputError, match=r"the prior 'dae' reads codes \(5,\), the generator \(6,\)"):
        model.with_prior("dae", trained(config), config)


@pytest.mark.parametrize(
    ("priors", "words"),
    [
        ({"mine": {"_target_": "os.system", "command": "true"}}, "refuses to build 'os.system'"),
        ({"mine": {"_target_": "ppgn.generators.identity.Identity"}}, "'mine' among its priors is none"),
        ({"mine": 7}, "'mine' among its priors is none"),
        ([7], "its priors are no mapping"),
    ],
)
def test_a_checkpoint_brings_no_foreign_priors(priors, words):
    with pytest.raises(InputError, match=words):
        PPGN.from_config({**CONFIG, "priors": priors}, trust=())


def test_unknown_names_are_answered_with_near_ones(model):
    with pytest.raises(InputError, match="unknown model 'naturl64'"):
        load("naturl64")
    with pytest.raises(InputError, match="unknown prior 'gausian'; nearest: gaussian"):
        model.sample(Brightness(0.5), [0], prior="gausian")


def test_natural128_looks_at_four_views_a_step():
    assert load("natural128").suited()["views"] == 4
    assert load("natural64").suited() == "anchored"


def test_natural128_draws_what_natural64_does_from_the_same_codes():
    smaller, larger = load("natural64"), load("natural128")
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    codes = larger.encode(x)
    assert torch.equal(codes, smaller.encode(torch.nn.functional.avg_pool2d(x, 2)))
    drawn = larger.priors["bank"].codes(torch.arange(24))
    pictures, layouts = larger.decode(drawn), smaller.decode(drawn)
    assert pictures.shape == (24, 3, 128, 128)
    reduced = torch.nn.functional.avg_pool2d(pictures, 2)
    apart = torch.stack([(reduced - layout).abs().mean((1, 2, 3)) for layout in layouts])
    assert (apart.argmin(dim=1) == torch.arange(24)).sum() > 16  # nearest of all to the drawing of the same code


def test_a_model_put_together_by_hand_is_not_saved(model, tmp_path):
    with pytest.raises(InputError, match="from_config"):
        PPGN(model.generator, model.encoder).save(tmp_path / "x.safetensors")


def test_codes_must_fit():
    config = {**CONFIG, "generator": {**CONFIG["generator"], "code_dim": 5}}
    with pytest.raises(InputError, match=r"reads codes \(5,\), the encoder writes \(6,\)"):
        PPGN.from_config(config)


def test_the_sampler_that_suits_is_anchored_where_photographs_are_likely_to_show_what_is_asked_for() -> None:
    bank = Bank([5], 4, 0.5)
    config = {"_target_": "ppgn.priors.bank.Bank", "code_shape": [5], "members": 4, "sigma": 0.5}
    plain = PPGN(TinyGenerator())
    anchoring = plain.with_prior("bank", bank, config)
    common, rare = nn.Identity(), nn.Identity()
    rare.rare = True
    assert (plain.suited(), anchoring.suited()) == ("annealed", "anchored")
    assert anchoring.suited(prior="gaussian") == "annealed"
    assert anchoring.suited(conditions=[common, common]) == "anchored"
    assert anchoring.suited(conditions=[common, rare]) == "annealed"


def test_a_model_may_bring_the_settings_that_suit_its_generator(tmp_path: Path) -> None:
    config = {"generator": {"_target_": "tests.tiny.TinyGenerator"}, "samplers": {"annealed": {"steps": 7}}}
    kernel = {"_target_": "ppgn.samplers.annealed.Annealed"}
    model = PPGN.from_config(config)
    assert model.suited() == {**kernel, "steps": 7}
    assert model.suited({"epsilon2": 3.0}) == {**kernel, "steps": 7, "epsilon2": 3.0}
    assert model.suited({"steps": 9}) == {**kernel, "steps": 9}
    assert model.suited(own=False) == "annealed"
    assert model.suited("annealed") == "annealed"
    assert model.suited({**kernel, "epsilon2": 3.0}) == {**kernel, "epsilon2": 3.0}
    model.save(tmp_path / "mine.safetensors")
    assert load(tmp_path / "mine.safetensors", trust="tests.tiny").suited() == {**kernel, "steps": 7}


@pytest.mark.parametrize(
    "wrong",
    [
        [1],
        {"annealed": 3},
        {"ppgn": {"steps": 7}},
        {"annealed": {"stepz": 7}},
        {"annealed": {"steps": -7}},
        {"annealed": {"_target_": "tests.tiny.TinyGenerator"}},
        {"annealed": {"grid": {"_target_": "tests.tiny.TinyGenerator"}}},
    ],
)
def test_settings_that_a_model_cannot_bring_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"sampler|^steps is -7"):
        PPGN.from_config({"generator": {"_target_": "tests.tiny.TinyGenerator"}, "samplers": wrong})


def test_a_sampler_that_is_named_is_taken_as_it_is_and_settings_alone_are_those_of_the_one_that_suits() -> None:
    plain, kernel = PPGN(TinyGenerator()), Anchored()
    typed = {"_target_": "ppgn.samplers.anchored.Anchored", "epsilon2": 3.0}
    assert [plain.suited(given) for given in ("anchored", "ppgn", typed)] == ["anchored", "ppgn", typed]
    assert plain.suited(kernel) is kernel
    assert plain.suited({"epsilon2": 3.0}) == {"_target_": "ppgn.samplers.annealed.Annealed", "epsilon2": 3.0}
    with pytest.raises(InputError, match=r"unknown key 'sampler\.variety'.*what suits is annealed; name another"):
        plain.suited({"variety": 3.0})
