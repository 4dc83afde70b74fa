"""The up-convolutional generator of the paper, from features of CaffeNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError, check_known
from ppgn.media.medium import Pictures

CODE_LAYERS = {"fc6": 4096, "fc7": 4096, "fc8": 1000, "pool5": 256 * 6 * 6}  # and how wide they are
WIDTH = 256  # channels at 4 x 4 pixels
SIDE = 256  # pixels that the network draws
MEAN = (104.0, 117.0, 123.0)  # of ImageNet, in BGR


class UpConv(nn.ConvTranspose2d):
    """A transposed convolution whose bias is kept with the weights but never trained (learning rate multiplier 0)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, out_channels, kernel, stride, padding=1, bias=False)
        del self.bias
        self.register_buffer("bias", torch.zeros(out_channels))


class ReleasedPictures(Pictures):
    """Pictures as the authors' code draws them: (x + 120) / 240 of mean-subtracted x in 0-255, the mean not added.

    They are paler and richer in contrast; what conditions and encoders see is the same. (PPGN's released code.)
    """

    def store(self, x: Tensor) -> Tensor:
        """Images in [0, 1] -> uint8 in the authors' colours."""
        return super().store((255 * x.float() - self._mean(x.float()) + 120) / 240)

    def restore(self, stored: Tensor) -> Tensor:
        """uint8 in the authors' colours -> images in [0, 1], as far as ±120 around the mean colour reach."""
        x = super().restore(stored)
        return (240 * x - 120 + self._mean(x)) / 255

    def _mean(self, x: Tensor) -> Tensor:
        return x.new_tensor(MEAN[::-1]).view(3, 1, 1)


MEDIA = {"mean": Pictures, "released": ReleasedPictures}


class DeePSiM(nn.Module):
    """Codes (B, D) -> images (B, 3, S, S), RGB in [0, 1] as far as the last, linear layer keeps to it.

    `code_layer` says what the codes are: "fc6", "fc7" or "fc8" (`code_dim` features, 4096 or 1000 of CaffeNet) enter
    three fully connected layers, "pool5" (9216 features, the flattened 256x6x6) three convolutions; the up-convolutions
    are the same. The network draws mean-subtracted BGR at 256 pixels; what leaves it is the centre of `size` S pixels,
    227 as the paper's encoder and condition see, in our units. Nothing is clamped, so that the gradient reaches every
    pixel. `pictures` says how images are stored and shown: "mean", as they are, or "released" (`ReleasedPictures`).

    Raises `InputError` for another layer, size or `pictures`. (Nguyen et al. 2016, 2017, released definition;
    Dosovitskiy & Brox 2016.)
    """

    mean: Tensor

    def __init__(
        self, code_layer: str = "fc6", code_dim: int | None = None, size: int = 227, pictures: str = "mean"
    ) -> None:
        super().__init__()
        check_known("code layer of DeePSiM", code_layer, CODE_LAYERS)
        check_known("pictures of DeePSiM", pictures, MEDIA)
        if not 1 <= size <= SIDE:
            raise InputError(f"generator: size={size} cannot be cut from what DeePSiM draws; expected 1 to {SIDE}")
        dim, w = code_dim or CODE_LAYERS[code_layer], WIDTH
        if code_layer == "pool5":
            if dim != CODE_LAYERS["pool5"]:
                raise InputError(f"generator: code_dim={dim} with code_layer=pool5; expected {CODE_LAYERS['pool5']}")
            self.defc7: nn.Module = nn.Conv2d(w, 2 * w, 3, padding=1)
            self.defc6: nn.Module = nn.Conv2d(2 * w, 2 * w, 3, padding=1)
            self.defc5: nn.Module = nn.Conv2d(2 * w, 2 * w, 3)
        else:
            self.defc7, self.defc6 = nn.Linear(dim, 16 * w), nn.Linear(16 * w, 16 * w)
            self.defc5 = nn.Linear(16 * w, 16 * w)
        self.code_layer = code_layer
        self.code_shape: Shape = (dim,)
        self.signal_shape: Shape = (3, size, size)
        self.offset = (SIDE - size) // 2  # 14 for 227, 16 for 224
        self.medium = MEDIA[pictures]()
        self.deconv5 = UpConv(2 * w if code_layer == "pool5" else w, w, 4, 2)
        self.conv5_1 = UpConv(w, 2 * w, 3, 1)
        self.deconv4 = UpConv(2 * w, w, 4, 2)
        self.conv4_1 = UpConv(w, w, 3, 1)
        self.deconv3 = UpConv(w, w // 2, 4, 2)
        self.conv3_1 = UpConv(w // 2, w // 2, 3, 1)
        self.deconv2 = UpConv(w // 2, w // 4, 4, 2)
        self.deconv1 = UpConv(w // 4, w // 8, 4, 2)
        self.deconv0 = UpConv(w // 8, 3, 4, 2)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")  # Caffe's "msra" filler, fan-in alike
            else:
                nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> images (B, 3, S, S) in [0, 1], not clamped."""
        x = h.view(-1, WIDTH, 6, 6) if self.code_layer == "pool5" else h
        for dense in (self.defc7, self.defc6, self.defc5):
            x = F.leaky_relu(dense(x), 0.3)
        x = x if self.code_layer == "pool5" else x.view(-1, WIDTH, 4, 4)
        for up in (self.deconv5, self.conv5_1, self.deconv4, self.conv4_1, self.deconv3, self.conv3_1, self.deconv2):
            x = F.leaky_relu(up(x), 0.3)
        bgr: Tensor = self.deconv0(F.leaky_relu(self.deconv1(x), 0.3)) + self.mean
        _, height, width = self.signal_shape
        return bgr[..., self.offset : self.offset + height, self.offset : self.offset + width].flip(1) / 255
