"""TAEF2, the tiny autoencoder of FLUX.2's codes: 32 channels, an eighth of the side, RGB in [0, 1].

Source: github.com/madebyollin/taesd (MIT), whose weights are two files of 2.7 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError, first_line
from ppgn.model import PPGN

FILES = ("taef2_encoder.pth", "taef2_decoder.pth")
CHANNELS, FACTOR, WIDTH = 32, 8, 64


class _Block(nn.Module):
    """A residual block; `pooled` ones first add what group statistics over the whole map say."""

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        layers = [_conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH)]
        self.conv = nn.Sequential(*layers)
        if pooled:
            inner = 4 * WIDTH
            there, back = nn.Conv2d(WIDTH, inner, 1, bias=False), nn.Conv2d(inner, WIDTH, 1, bias=False)
            self.pool = nn.Sequential(there, nn.GroupNorm(4, inner), nn.ReLU(), back)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.pool(x) if hasattr(self, "pool") else x
        return F.relu(self.conv(y) + y)


class _Clamp(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 3 * torch.tanh(z / 3)


def _conv(inputs: int, outputs: int, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **more)


def _blocks(*, pooled: bool = False) -> list[nn.Module]:
    return [_Block(pooled=pooled) for _ in range(3)]


def _down() -> nn.Module:
    return _conv(WIDTH, WIDTH, stride=2, bias=False)


def _up() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]


def _shapes(size: int) -> tuple[Shape, Shape]:
    """The shapes of codes and of images with sides of `size`. Raises `InputError` for one that cannot be."""
    if size < FACTOR or size % FACTOR:
        raise InputError(f"size={size}; expected a multiple of {FACTOR}")
    return (CHANNELS, size // FACTOR, size // FACTOR), (3, size, size)


class Encoder(nn.Sequential):
    """Images (B, 3, size, size) in [0, 1] -> codes (B, 32, size / 8, size / 8), of about unit variance."""

    def __init__(self, size: int = 128) -> None:
        downwards = [layer for _ in range(2) for layer in (_down(), *_blocks())]
        inner = [_conv(3, WIDTH), _Block(), *downwards, _down(), *_blocks(pooled=True)]
        super().__init__(*inner, _conv(WIDTH, CHANNELS))
        self.code_shape, self.signal_shape = _shapes(size)


class Decoder(nn.Sequential):
    """Codes (B, 32, size / 8, size / 8) -> images (B, 3, size, size), RGB of about [0, 1]."""

    def __init__(self, size: int = 128) -> None:
        upwards = [*_up(), *_blocks(), *_up(), *_blocks(), *_up(), _Block()]
        inner = [_Clamp(), _conv(CHANNELS, WIDTH), nn.ReLU(), *_blocks(pooled=True), *upwards]
        super().__init__(*inner, _conv(WIDTH, 3))
        self.code_shape, self.signal_shape = _shapes(size)


def load(folder: str | Path, size: int = 128) -> PPGN:
    """A model of TAEF2's two files in a folder, for images with sides of `size`, frozen.

    Its codes want a prior: `ppgn train prior prior=stationary model=FOLDER`. Raises `InputError` without the files.
    """
    config = {
        "generator": {"_target_": f"{__name__}.Decoder", "size": size},
        "encoder": {"_target_": f"{__name__}.Encoder", "size": size},
    }
    card = {"name": "taef2", "license": "mit", "weights": "github.com/madebyollin/taesd, taef2"}
    model = PPGN.from_config(config, card)
    for part, name in zip((model.encoder, model.generator), FILES, strict=True):
        path = Path(folder).expanduser() / name
        if not path.is_file():
            raise InputError(f"no file '{path}'; give the folder that has {' and '.join(FILES)}")
        try:
            part.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:
            reason = first_line(error)
            raise InputError(f"'{path}' does not hold the weights of TAEF2 ({reason}); get it anew") from error
    return model.eval().requires_grad_(False)
