"""BVLC CaffeNet, the encoder and first condition network of the paper."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.networks import _weights, labels
from ppgn.networks.network import Network, Preprocessing


class _Conv(nn.Conv2d):
    """A convolution and its ReLU: in Caffe, a layer's name means its values after the in-place ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class _Linear(nn.Linear):
    """A fully connected layer and its ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class CaffeNet(nn.Module):
    """Mean-subtracted BGR in 0-255, (B, 3, 227, 227), -> logits (B, 1000), with the released layers' names.

    "conv1" to "fc7" are values after ReLU, "pool5" is (256, 6, 6), "fc6" the paper's code. Pooling comes before the
    local response normalisation; there is no dropout. (Network definition released with the paper; Jia et al. 2014.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Conv(3, 96, 11, stride=4)
        self.pool1 = nn.MaxPool2d(3, 2)
        self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.conv2 = _Conv(96, 256, 5, padding=2, groups=2)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.conv3 = _Conv(256, 384, 3, padding=1)
        self.conv4 = _Conv(384, 384, 3, padding=1, groups=2)
        self.conv5 = _Conv(384, 256, 3, padding=1, groups=2)
        self.pool5 = nn.MaxPool2d(3, 2)
        self.fc6 = _Linear(256 * 6 * 6, 4096)
        self.fc7 = _Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Mean-subtracted BGR in 0-255, (B, 3, 227, 227), -> logits (B, 1000)."""
        x = self.norm1(self.pool1(self.conv1(x)))
        x = self.norm2(self.pool2(self.conv2(x)))
        x = self.pool5(self.conv5(self.conv4(self.conv3(x))))
        logits: Tensor = self.fc8(self.fc7(self.fc6(x.flatten(1))))
        return logits


def load(weights: str | Path | None = None) -> Network:
    """CaffeNet on images (B, 3, H, W) in [0, 1], resized to 227 pixels a side -> logits (B, 1000).

    `weights` is the path of a state dict of `CaffeNet`, .safetensors or .pth; None makes He-initialised ones from a
    fixed seed, the same every time. A checkpoint carries either. Preprocessing is Caffe's: BGR in 0-255 minus
    ImageNet's mean colour.

    Raises `InputError` for weights that cannot be read or do not fit.
    """
    body = CaffeNet()
    if weights is None:
        _initialise(body)
    else:
        _weights.assign(body, _weights.read(weights), f"weights '{weights}' do not fit caffenet")
    preprocessing = Preprocessing(227, mean=(104.0, 117.0, 123.0), scale=255.0, channels="bgr")
    return Network(
        body,
        preprocessing,
        name="caffenet",
        labels=labels.imagenet(),
        restorable=False,
        rebuilt_with={} if weights is None else {"weights": None},
        copy=False,
    )


def _initialise(body: CaffeNet) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in body.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
        else:
            nn.init.zeros_(parameter)
