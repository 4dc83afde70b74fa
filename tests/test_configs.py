"""Every file of conf/ builds what it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from ppgn import building, paths
from ppgn.cli import config as configs
from ppgn.cli import fields
from ppgn.conditions import words
from ppgn.conditions.classifier import Classifier
from ppgn.model import PPGN
from ppgn.samplers.sampler import Sampler
from ppgn.search.contract import SearchSampler

GROUPS = {"condition", "data", "encoder", "experiment", "generator", "prior", "sampler", "trainer", "training"}
GROUPS |= {"search"}
GROUPS |= {"search"}
TRAINED = ("generator", "encoder", "training", "data", "trainer")  # groups of conf/train_generator.yaml
EXPERIMENTS = [None, *fields.experiments({*fields.of_file(paths.conf() / "train_generator.yaml"), *TRAINED})]


def test_every_group_is_tested_here() -> None:
    assert {path.parent.name for path in paths.conf().glob("*/*.yaml")} == GROUPS


def load(group: str, option: str) -> Any:
    return instantiate(OmegaConf.load(paths.conf() / group / f"{option}.yaml"))


@pytest.mark.parametrize("option", paths.options("generator"))
def test_generator(option: str) -> None:
    generator = load("generator", option)
    with torch.no_grad():
        assert generator(torch.zeros(1, *generator.code_shape)).shape == (1, *generator.signal_shape)


@pytest.mark.parametrize("option", paths.options("prior"))
def test_prior(option: str) -> None:
    spatial = {"stationary": [4, 8, 8], "unet": [4, 8, 8], "image_dae": [3, 64, 64], "image_unet": [3, 64, 64]}
    shape = {**spatial, "dae_published": [4096]}.get(option, [512])
    settings: Any = OmegaConf.to_container(OmegaConf.load(paths.conf() / "prior" / f"{option}.yaml"))
    with torch.device("meta"):
        assert building.build({**settings, "code_shape": shape}).code_shape == tuple(shape)


@pytest.mark.parametrize("option", paths.options("encoder"))
def test_encoder(option: str) -> None:
    encoder = load("encoder", option)
    with torch.no_grad():
        features = encoder.features(torch.zeros(1, 3, 64, 64))
    if encoder.dim is None:
        assert encoder.code_shape == features.shape[1:]
    else:
        assert encoder.code_shape == (encoder.dim,)
        assert encoder.dim < features.shape[1]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("option", paths.options("condition"))
def test_condition(option: str, tmp_path: Path) -> None:
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    torch.jit.script(classifier.eval()).save(tmp_path / "classifier.ts")
    save_file({"W_enc": torch.rand(24, 5), "b_enc": torch.zeros(5)}, tmp_path / "sae.safetensors")
    settings: Any = {
        "torchscript": {"path": f"{tmp_path}/classifier.ts", "size": 16},
        "places": {"network.weights": None, "network.size": 64},
        "unit": {"layer": "blocks.1", "network.size": 64},
        "direction": {"layer": "blocks.1", "network.size": 64, "direction": torch.rand(3, 24)},
        "sae": {"layer": "blocks.1", "network.size": 64, "sae": f"{tmp_path}/sae.safetensors"},
    }.get(option, {})
    target = "a dog runs" if option == "caption" else 2
    (condition,) = words.conditions(option, [target], settings=settings)
    if isinstance(condition, Classifier):
        assert condition.index == 2
    assert condition(torch.rand(1, 3, 64, 64)).shape == (1,)


@pytest.mark.parametrize("option", paths.options("search"))
def test_search(option: str) -> None:
    """A file says which class it is and nothing more: the values are the class's own."""
    assert list(building.node("search", option)) == ["_target_"]
    assert isinstance(building.part("search", option), SearchSampler)


@pytest.mark.parametrize("option", paths.options("sampler"))
def test_sampler(option: str) -> None:
    """A file says which class it is and nothing more: the values are the class's own."""
    assert list(building.node("sampler", option)) == ["_target_"]
    sampler = building.part("sampler", option)
    assert isinstance(sampler, Sampler)
    for name, field in fields.of_part("sampler", option).items():
        assert getattr(sampler, name) == field.default
        assert field.help


def training(experiment: str | None, root: Path) -> tuple[DictConfig, dict[str, str]]:
    words = [] if experiment is None else [f"experiment={experiment}"]
    if experiment in ("natural64_cpu", "natural64_joint", "natural128_cpu", "natural128_gpu"):
        words += ["training.codes.mixture=0"]  # that is of a model with weights
    words += [f"data.root={root}", f"out={root}", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    return configs.compose("train_generator", words)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment(experiment: str | None, tmp_path: Path) -> None:
    cfg, _ = training(experiment, tmp_path)
    with torch.device("meta"):  # shapes without weights
        model = PPGN.from_config(OmegaConf.to_container(cfg.model, resolve=True))  # type: ignore[arg-type]
        module = instantiate(cfg.training, model=model)
    assert len(module.configure_optimizers()) == 2
    assert instantiate(cfg.data).batch_size == cfg.data.batch_size
    assert instantiate(cfg.trainer).max_epochs == -1


def test_the_programs_and_experiments_use_every_training_and_data_file(tmp_path: Path) -> None:
    choices = [training(experiment, tmp_path)[1] for experiment in EXPERIMENTS]
    choices.append(configs.compose("train_decoder", [f"data.root={tmp_path}"])[1])
    for group in ("training", "data"):
        used = {choice[group] for choice in choices} | ({"webdataset"} if group == "data" else set())  # test_generator
        assert used == set(paths.options(group))
