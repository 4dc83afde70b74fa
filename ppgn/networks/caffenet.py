"""BVLC CaffeNet, the encoder and first condition network of the paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.networks import _weights
from ppgn.networks import labels as class_names
from ppgn.networks.network import Network, Preprocessing

SIDE = 227  # pixels of its input
WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)  # units of conv1 to fc7
IN_MODEL = "encoder.network.body."  # of a PPGN whose encoder looks through CaffeNet


class _Conv(nn.Conv2d):
    """A convolution and its ReLU: in Caffe, a layer's name means its values after the in-place ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class _Linear(nn.Linear):
    """A fully connected layer and its ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class CaffeNet(nn.Module):
    """Mean-subtracted BGR in 0-255, (B, 3, 227, 227), -> logits (B, K), with the released layers' names.

    "conv1" to "fc7" are values after ReLU, "pool5" is (256, 6, 6), "fc6" the paper's code. Pooling comes before the
    local response normalisation; there is no dropout. (Network definition released with the paper; Jia et al. 2014.)
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        c1, c2, c3, c4, c5, d6, d7 = WIDTHS
        self.conv1 = _Conv(3, c1, 11, stride=4)
        self.pool1 = nn.MaxPool2d(3, 2)
        self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.conv2 = _Conv(c1, c2, 5, padding=2, groups=2)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.conv3 = _Conv(c2, c3, 3, padding=1)
        self.conv4 = _Conv(c3, c4, 3, padding=1, groups=2)
        self.conv5 = _Conv(c4, c5, 3, padding=1, groups=2)
        self.pool5 = nn.MaxPool2d(3, 2)
        self.fc6 = _Linear(c5 * 6 * 6, d6)
        self.fc7 = _Linear(d6, d7)
        self.fc8 = nn.Linear(d7, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Mean-subtracted BGR in 0-255, (B, 3, 227, 227), -> logits (B, K)."""
        x = self.norm1(self.pool1(self.conv1(x)))
        x = self.norm2(self.pool2(self.conv2(x)))
        x = self.pool5(self.conv5(self.conv4(self.conv3(x))))
        logits: Tensor = self.fc8(self.fc7(self.fc6(x.flatten(1))))
        return logits


def load(weights: str | Path | None = None, classes: int | None = None, labels: Sequence[str] | None = None) -> Network:
    """CaffeNet, or a body like it, on images (B, 3, H, W) in [0, 1], resized to 227 pixels a side -> logits (B, K).

    `weights` is the path of a state dict of `CaffeNet`, .safetensors or .pth, or of a PPGN model whose encoder looks
    through one; None makes He-initialised ones of `classes` classes (1000 unless given) from a fixed seed, the same
    every time. A checkpoint carries either. `labels` are K names, by default those in the file, or ImageNet's for 1000
    classes. Preprocessing is Caffe's: BGR in 0-255 minus ImageNet's mean colour.

    Raises `InputError` for weights that cannot be read or do not fit, and for more or fewer labels than classes.
    """
    if weights is None:
        body = CaffeNet(classes or 1000)
        _initialise(body)
    else:
        path = Path(weights).expanduser()
        if path.suffix == ".caffemodel":
            command = f"ppgn import network={path} out={path.stem}.safetensors"
            raise InputError(f"weights '{path}' are Caffe's; type {command} and give that file")
        state = _weights.read(path)
        inside = {k.removeprefix(IN_MODEL): value for k, value in state.items() if k.startswith(IN_MODEL)}
        state = inside or state
        with torch.device("meta"):
            body = CaffeNet(len(state["fc8.bias"]) if "fc8.bias" in state else 1000)
        _weights.assign(body.to_empty(device="cpu"), state, f"weights '{path}' do not fit caffenet")
        labels = _labels(path) if labels is None else labels
    return wrap(body, labels, {} if weights is None else {"weights": None, "classes": body.fc8.out_features})


def wrap(body: CaffeNet, labels: Sequence[str] | None = None, rebuilt_with: Mapping[str, Any] | None = None) -> Network:
    """A `CaffeNet`, taken over, with its preprocessing and labels; the arguments are those of `load` and `Network`."""
    preprocessing = Preprocessing(SIDE, mean=(104.0, 117.0, 123.0), scale=255.0, channels="bgr")
    if labels is None and body.fc8.out_features == 1000:
        labels = class_names.imagenet()
    return Network(
        body, preprocessing, name="caffenet", labels=labels, restorable=False, rebuilt_with=rebuilt_with, copy=False
    )


def _labels(path: Path) -> list[str] | None:
    """The class names in the metadata of a .safetensors file, where there are any."""
    try:
        with safe_open(path, "pt") as file:
            names = json.loads((file.metadata() or {}).get("labels", "null"))
    except (SafetensorError, ValueError):  # another format
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _initialise(body: CaffeNet) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in body.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
        else:
            nn.init.zeros_(parameter)
