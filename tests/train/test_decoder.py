"""A decoder learns to give a layer's images back, and `ppgn invert` uses it through its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppgn
from ppgn.cli import config as configs
from ppgn.errors import InputError
from train import decoder

TINY = [
    "encoder.network={name: timm/test_efficientnet, size: 32, weights: null}",
    "generator.size=16",
    "generator.width=16",
    "training.generator_optimizer.lr=0.01",
    "training.ema_warmup=1000",
    "data.names=[tiny]",
    "data.batch_size=8",
    "previews=2",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of one colour each."""
    colours = np.random.default_rng(0).integers(0, 255, (64, 1, 1, 3), dtype=np.uint8)
    (tmp_path / "tiny").mkdir()
    for split in ("train", "val"):
        np.save(tmp_path / "tiny" / f"{split}_images.npy", np.tile(colours, (1, 16, 16, 1)))
    return tmp_path


def trained(data: Path, layer: str, steps: int) -> Path:
    words = [*TINY, f"encoder.layers=[{layer}]", f"data.root={data}", f"out={data / 'run'}", f"steps={steps}"]
    decoder.run(*configs.compose("train_decoder", words))
    return data / "run" / "decoder.safetensors"


def test_what_a_decoder_has_learnt_is_what_invert_starts_from(data: Path) -> None:
    model = ppgn.load(trained(data, "blocks.1", 60))
    assert model.generator.code == (24, 8, 8)
    photo = torch.tensor([200, 40, 90], dtype=torch.uint8)[:, None, None].expand(3, 16, 16)
    given = {"network": "timm/test_efficientnet", "size": 32, "weights": None, "device": "cpu", "steps": 3}
    done = ppgn.invert(photo, "blocks.1", method=["decoder", "both"], model=model, **given)
    decoded = done.images["blocks.1", "decoder"].float().mean((1, 2))
    assert (decoded - photo[:, 0, 0]).abs().max() < 40  # untrained it is grey, 128
    assert done.rows[1]["error"] < done.rows[0]["error"]


def test_a_layer_without_places_has_linear_layers_in_front(data: Path) -> None:
    model = ppgn.load(trained(data, "global_pool", 1))
    assert len(model.generator.code) == 1
    assert len(model.generator.first) == 3


def test_an_unknown_layer_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"blocks\.1"):
        trained(data, "blocks.11", 1)
