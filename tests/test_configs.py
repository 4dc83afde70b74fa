"""Every file of conf/ builds what it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ppgn import paths
from ppgn.cli import config as configs
from ppgn.cli.sample import Request
from ppgn.conditions.classifier import Classifier
from ppgn.model import PPGN, build
from ppgn.samplers.sampler import Sampler

GROUPS = {"condition", "data", "encoder", "experiment", "generator", "prior", "sampler", "training"}
EXPERIMENTS = [None, *configs.experiments("train_generator")]


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
    shape = {"image_dae": [3, 64, 64], "dae_published": [4096]}.get(option, [512])
    settings: Any = OmegaConf.to_container(OmegaConf.load(paths.conf() / "prior" / f"{option}.yaml"))
    with torch.device("meta"):
        assert build({**settings, "code_shape": shape}).code_shape == tuple(shape)


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
    words = {
        "torchscript": [f"condition.path={tmp_path}/classifier.ts", "condition.size=16"],
        "places": ["condition.network.weights=null", "condition.network.size=64"],
        "unit": ["condition.layer=blocks.1", "condition.network.size=64"],
    }.get(option, [])
    target = "target=a dog runs" if option == "caption" else "target=2"
    settings, _ = configs.compose("sample", [f"condition={option}", target, "sampler=released", *words])
    condition = configs.build(settings.condition)
    assert condition.gradient == "truncated"
    if isinstance(condition, Classifier):
        assert condition.index == 2
    assert condition(torch.rand(1, 3, 64, 64)).shape == (1,)


@pytest.mark.parametrize("option", paths.options("sampler"))
def test_sampler(option: str) -> None:
    settings, _ = configs.compose("sample", [f"sampler={option}", "target=2"])
    sampler = configs.build(settings.sampler)
    assert isinstance(sampler, Sampler)
    assert sampler.steps == settings.sampler.steps
    # What the file says is what the function does by itself.
    module, _, name = settings.sampler._target_.rpartition(".")
    assert repr(sampler) == repr(getattr(__import__(module, fromlist=[name]), name)())


def test_sample_defaults() -> None:
    request = Request.read(["target=goldfish"])
    assert request.seeds == tuple(range(8))
    assert request.out == Path("outputs/imagenet-goldfish")
    assert request.options == {"condition": "imagenet", "sampler": "annealed"}
    assert request.prior is None


def training(experiment: str | None, root: Path) -> DictConfig:
    words = [] if experiment is None else [f"experiment={experiment}"]
    words += [f"data.root={root}", f"out={root}", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    with initialize_config_dir(version_base="1.3", config_dir=str(paths.conf())):
        return compose("train_generator", words, return_hydra_config=True)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment(experiment: str | None, tmp_path: Path) -> None:
    cfg = training(experiment, tmp_path)
    with torch.device("meta"):  # shapes without weights
        model = PPGN.from_config(OmegaConf.to_container(cfg.model, resolve=True))  # type: ignore[arg-type]
        module = instantiate(cfg.training, model=model)
    assert len(module.configure_optimizers()) == 2
    assert instantiate(cfg.data).batch_size == cfg.data.batch_size
    assert instantiate(cfg.trainer).max_epochs == -1


def test_the_experiments_use_every_training_and_data_file(tmp_path: Path) -> None:
    choices = [training(experiment, tmp_path).hydra.runtime.choices for experiment in EXPERIMENTS]
    for group in ("training", "data"):
        assert {choice[group] for choice in choices} == set(paths.options(group))
