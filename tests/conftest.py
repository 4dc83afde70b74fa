"""A model and a classifier small enough to sample within a second."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ppgn.cli import main
from ppgn.model import PPGN

CONFIG = {
    "generator": {"_target_": "ppgn.generators.resnet.ResNet", "code_dim": 8, "widths": [8, 8, 8], "depths": [0, 0, 0]},
    "encoder": {
        "_target_": "ppgn.encoders.features.FeatureEncoder",
        "network": {"_target_": "ppgn.networks.imagenet.load", "name": "efficientnet_lite0", "size": 32},
        "layers": ["blocks.2"],
        "pool": 1,
        "dim": 8,
    },
}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is found out while testing stays out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.safetensors (codes of 8, images 3x16x16) and classifier.ts (4 classes)."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def write_tiny(folder: Path) -> Path:
    """Write the files of `tiny` -> the folder."""
    torch.manual_seed(0)
    model = PPGN.from_config(CONFIG, {"name": "tiny", "description": "random weights"})
    model.encoder.fit([torch.rand(20, 3, 16, 16)])
    model.save(folder / "model.safetensors")
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch would rather have torch.export
        torch.jit.trace(classifier, torch.zeros(1, 3, 16, 16)).save(folder / "classifier.ts")
    return folder


@pytest.fixture
def sample(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`ppgn sample` with the tiny networks, in an empty folder, as a function of further words."""
    monkeypatch.chdir(tmp_path)
    words = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    words += ["condition.size=16", "steps=6", "seeds=0-3", "batch_size=2", "device=cpu", "precision=float64"]

    def run(*more: str) -> int:
        given = {word.split("=")[0] for word in more}
        return main(["sample", *(word for word in words if word.split("=")[0] not in given), *more])

    return run
