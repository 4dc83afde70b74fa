"""Discriminators, conditional on the real code h, and beside that without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ppgn.errors import InputError
from train.shares import mean


class Discriminator(nn.Module):
    """Tells real images from generated ones, given the code: forward(x, features, h) -> logits, one tensor a head.

    The logits are those of `games`, one after the other: the first game is conditional on the code, a second is not.
    The last `pixel_heads` of each judge the images themselves, all others the features.
    """

    games = 1
    pixel_heads = 0

    def calibrate(self, features: Mapping[str, Tensor]) -> None:
        """Look at the features of one real batch, layer name -> (B, C, H, W), before the first update.

        Each process has some rows of it; `train.shares.mean` is over all.
        """

    def forward(self, x: Tensor, features: Mapping[str, Tensor], h: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) in [0, 1], their features by layer, codes (P, D) of the first P -> logits a head.

        Those of the first game are (P, ...), those of others (B, ...); with one game alone P is B.
        """
        raise TypeError(f"{type(self).__name__} judges nothing: use a subclass")

    def play(
        self, x: Tensor, features: Mapping[str, Tensor], h: Tensor, free: Tensor | None = None
    ) -> list[list[Tensor]]:
        """What `forward` gives, the logits of each game by themselves; in a second one of the rows `free` (B,) alone.

        Where there are none of these, of all.
        """
        logits = self(x, features, h)
        heads = len(logits) // self.games
        games = [logits[first : first + heads] for first in range(0, len(logits), heads)]
        if free is None or not free.any():
            return games
        return [games[0], *([of[free] for of in game] for game in games[1:])]


class DeePSiMDiscriminator(Discriminator):
    """The published discriminator: five convolutions on the 227 px image, two layers on the code, joined by two more.

    Widths, kernels and the slope 0.3 are those of Dosovitskiy & Brox (2016); two outputs for a softmax, real = 0 and
    fake = 1.
    """

    def __init__(self, code_dim: int = 4096, outputs: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width, kernel, stride in (
            (3, 32, 7, 4), (32, 64, 5, 1), (64, 128, 3, 2), (128, 256, 3, 1), (256, 256, 3, 2),
        ):  # fmt: skip
            layers += [nn.Conv2d(inputs, width, kernel, stride), nn.LeakyReLU(0.3)]
        self.image = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.code = nn.Sequential(nn.Linear(code_dim, 1024), nn.LeakyReLU(0.3), nn.Linear(1024, 512), nn.LeakyReLU(0.3))
        self.joint = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(768, 512), nn.LeakyReLU(0.3), nn.Dropout(0.5), nn.Linear(512, outputs)
        )

    def forward(self, x: Tensor, features: Mapping[str, Tensor], h: Tensor) -> list[Tensor]:
        """Images (B, 3, 227, 227) in [0, 1] and codes (B, D) -> [logits (B, outputs)]."""
        logits: Tensor = self.joint(torch.cat([self.image(2 * x - 1), self.code(h)], dim=1))
        return [logits]


class _Head(nn.Module):
    """Convolutions, then a logit a position, with a projection on the code, and, if `free`, another without it.

    Judges a feature map of `channels`, brought to unit scale and mixed at random, always in the same way; without any,
    patches of the image itself (Isola et al. 2017).
    """

    mixing: Tensor
    scale: Tensor

    def __init__(
        self, widths: Sequence[int], kernel: int, strides: Sequence[int], code_dim: int, free: bool, channels: int = 0
    ) -> None:
        super().__init__()
        self.logit = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self.code = spectral_norm(nn.Linear(code_dim, widths[-1]))
        self.free = spectral_norm(nn.Conv2d(widths[-1], 1, 1)) if free else None
        self.channels = channels
        if channels:
            self.register_buffer("mixing", torch.randn(widths[0], channels, 1, 1) / channels**0.5)
            self.register_buffer("scale", torch.ones(1, channels, 1, 1))
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, kernel, stride, padding=1))
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        )

    def forward(self, x: Tensor, h: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W), codes (P, D) of the first P rows -> logits (P, positions) and, if free, (B, positions)."""
        x = F.conv2d(x * self.scale, self.mixing) if self.channels else (4 * x - 2).expand(-1, 3, -1, -1)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        with_code = x[: len(h)]
        agreement = (with_code * self.code(h)[:, :, None, None]).sum(1, keepdim=True) / x.shape[1] ** 0.5
        logits = [self.logit(with_code) + agreement, *([] if self.free is None else [self.free(x)])]
        return [each.flatten(1) for each in logits]


class ProjectedDiscriminator(Discriminator):
    """Heads on several layers of a frozen network with random mixing (Sauer et al. 2021, Projected GANs).

    Each is conditional on the code by projection (Miyato & Koyama 2018) and spectrally normalised. With `pixels`, the
    width of its first layer, one more judges the image itself, so that what the frozen network overlooks is seen. With
    `unconditional` every head plays a second game, without the code, which judges images that have none too.
    """

    def __init__(
        self,
        layers: Sequence[str],
        channels: Sequence[int],
        code_dim: int,
        width: int = 64,
        depth: int = 2,
        pixels: int = 0,
        unconditional: bool = False,
    ) -> None:
        super().__init__()
        if len(layers) != len(channels):
            raise InputError(f"discriminator: {len(layers)} layers need as many channels, not {len(channels)}")
        self.layers = tuple(layers)
        head = partial(_Head, code_dim=code_dim, free=unconditional)
        deep, strides = (width,) * (depth + 1), (2,) * (depth - 1) + (1,)
        self.heads = nn.ModuleList(head(deep, 3, strides, channels=n) for n in channels)
        self.on_pixels = head((3, pixels, 2 * pixels, 4 * pixels), 4, (2, 2, 2)) if pixels else None
        self.games, self.pixel_heads = 2 if unconditional else 1, 1 if pixels else 0

    @torch.no_grad()
    def calibrate(self, features: Mapping[str, Tensor]) -> None:
        """Scale each channel by its root mean square over real features (B, C, H, W)."""
        for name, head in zip(self.layers, self.heads, strict=True):
            assert isinstance(head, _Head)
            rms = mean(features[name].square().mean(dim=(0, 2, 3), keepdim=True)).sqrt()
            head.scale.copy_(1 / (rms + 0.1 * rms.mean()))

    def forward(self, x: Tensor, features: Mapping[str, Tensor], h: Tensor) -> list[Tensor]:
        """Images, feature maps by layer name (B, C, H, W) and codes (P, D) -> per game and head logits, by position."""
        judged = [head(features[name], h) for name, head in zip(self.layers, self.heads, strict=True)]
        judged += [] if self.on_pixels is None else [self.on_pixels(x, h)]
        return [logits for game in zip(*judged, strict=True) for logits in game]
