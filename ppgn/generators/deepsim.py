"""The up-convolutional generator of the paper, from features of CaffeNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError, unknown

CODE_LAYERS = {"fc6": 4096, "fc7": 4096, "pool5": 256 * 6 * 6}


class UpConv(nn.ConvTranspose2d):
    """A transposed convolution whose bias is kept with the weights but never trained (learning rate multiplier 0)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, out_channels, kernel, stride, padding=1, bias=False)
        del self.bias
        self.register_buffer("bias", torch.zeros(out_channels))


class DeePSiM(nn.Module):
    """Codes (B, D) -> images (B, 3, 227, 227), RGB in [0, 1] as far as the last, linear layer keeps to it.

    `code_layer` says what the codes are: "fc6" or "fc7" (`code_dim` features, 4096 of CaffeNet) enter three fully
    connected layers, "pool5" (9216 features, the flattened 256x6x6) three convolutions; the up-convolutions are the
    same. The network draws mean-subtracted BGR at 256 pixels; what leaves it is the centre crop that the paper's
    encoder and condition see, in our units. Nothing is clamped, so that the gradient reaches every pixel.

    Raises `InputError` for another layer. (Nguyen et al. 2016, 2017, released definition; Dosovitskiy & Brox 2016.)
    """

    offset = 14  # (256 − 227) / 2

    mean: Tensor

    def __init__(self, code_layer: str = "fc6", code_dim: int | None = None) -> None:
        super().__init__()
        if code_layer not in CODE_LAYERS:
            raise unknown("code layer of DeePSiM", code_layer, CODE_LAYERS)
        dim = code_dim or CODE_LAYERS[code_layer]
        if code_layer == "pool5":
            if dim != CODE_LAYERS["pool5"]:
                raise InputError(f"generator: code_dim={dim} with code_layer=pool5; expected {CODE_LAYERS['pool5']}")
            self.defc7: nn.Module = nn.Conv2d(256, 512, 3, padding=1)
            self.defc6: nn.Module = nn.Conv2d(512, 512, 3, padding=1)
            self.defc5: nn.Module = nn.Conv2d(512, 512, 3)
        else:
            self.defc7, self.defc6, self.defc5 = nn.Linear(dim, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 4096)
        self.code_layer = code_layer
        self.code_shape: Shape = (dim,)
        self.signal_shape: Shape = (3, 227, 227)
        self.deconv5 = UpConv(512 if code_layer == "pool5" else 256, 256, 4, 2)
        self.conv5_1 = UpConv(256, 512, 3, 1)
        self.deconv4 = UpConv(512, 256, 4, 2)
        self.conv4_1 = UpConv(256, 256, 3, 1)
        self.deconv3 = UpConv(256, 128, 4, 2)
        self.conv3_1 = UpConv(128, 128, 3, 1)
        self.deconv2 = UpConv(128, 64, 4, 2)
        self.deconv1 = UpConv(64, 32, 4, 2)
        self.deconv0 = UpConv(32, 3, 4, 2)
        self.register_buffer("mean", torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1), persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")  # Caffe's "msra" filler, fan-in alike
            else:
                nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> images (B, 3, 227, 227) in [0, 1], not clamped."""
        x = h.view(-1, 256, 6, 6) if self.code_layer == "pool5" else h
        for dense in (self.defc7, self.defc6, self.defc5):
            x = F.leaky_relu(dense(x), 0.3)
        x = x if self.code_layer == "pool5" else x.view(-1, 256, 4, 4)
        for up in (self.deconv5, self.conv5_1, self.deconv4, self.conv4_1, self.deconv3, self.conv3_1, self.deconv2):
            x = F.leaky_relu(up(x), 0.3)
        bgr: Tensor = self.deconv0(F.leaky_relu(self.deconv1(x), 0.3)) + self.mean
        _, height, width = self.signal_shape
        return bgr[..., self.offset : self.offset + height, self.offset : self.offset + width].flip(1) / 255
