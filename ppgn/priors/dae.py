"""Denoising autoencoders at one noise level: of codes for PPGN-h, of pixels for PPGN-x."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.numerics.linear import Linear
from ppgn.priors.denoiser import Denoiser, preconditioning, vector_dim, zero


class DAE(Denoiser):
    """A multilayer perceptron on codes (D,), of hidden `widths`, that removes noise of standard deviation `sigma`.

    With `skip` the network corrects the best linear denoiser of whitened codes, h / (1 + σ²); without it the network's
    output is R(h), as published, with widths 2048–1024–500–1024–2048 for 4096 features.

    Source: PPGN (arXiv 1612.00005), PPGN-h; activations and σ are not given there.
    """

    def __init__(self, code_shape: Sequence[int], widths: Sequence[int], sigma: float, *, skip: bool = True) -> None:
        super().__init__(code_shape, (sigma, sigma), sigma)
        dim = vector_dim(code_shape)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([dim, *widths]):
            layers += [Linear(inputs, outputs), nn.SiLU()]
        last = Linear(widths[-1], dim)
        self.net = nn.Sequential(*layers, zero(last) if skip else last)
        self.skip = skip

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes (B, D) -> R(h), (B, D). Every noise level counts as `self.sigma`."""
        c_skip, c_out, c_in = preconditioning(sigma) if self.skip else (0.0, 1.0, 1.0)
        found: Tensor = self.net(c_in * h)
        return c_skip * h + c_out * found


class _ConvBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each behind a normalisation within the sample."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        change: Tensor = self.conv2(F.silu(self.norm2(y)))
        return x + change


class ImageDAE(Denoiser):
    """A small U-Net on images (3, H, W) in [0, 1] that removes noise of standard deviation `sigma`: R(x) = x − σ F(x).

    Every further entry of `widths` halves the resolution; H and W are multiples of 2^(len(widths) − 1).
    Source: PPGN-x (arXiv 1612.00005), whose architecture is not given; Ronneberger et al. 2015, Zhang et al. 2017.
    """

    white = False

    def __init__(self, code_shape: Sequence[int], widths: Sequence[int], sigma: float) -> None:
        super().__init__(code_shape, (sigma, sigma), sigma)
        multiple = 2 ** (len(widths) - 1)
        if len(code_shape) != 3 or code_shape[0] != 3 or any(side % multiple for side in code_shape[1:]):
            expected = f"expected images (3, H, W), sides multiples of {multiple}"
            raise InputError(f"prior: codes of shape {tuple(code_shape)}; {expected}")
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_ConvBlock(width) for width in widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(_ConvBlock(width) for width in widths[:-1])
        self.head = zero(nn.Conv2d(widths[0], 3, 3, padding=1))

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Noisy images (B, 3, H, W) -> R(h), alike. Every noise level counts as `self.sigma`."""
        y = self.stem((2 * h - 1).contiguous(memory_format=torch.channels_last))
        kept: list[Tensor] = []
        for level, block in enumerate(self.encoders):
            y = block(y)
            if level < len(self.downs):
                kept.append(y)
                y = self.downs[level](y)
        for level in reversed(range(len(self.ups))):
            y = self.decoders[level](kept[level] + self.ups[level](y))
        noise: Tensor = self.head(F.silu(y))
        return h - self.sigma * noise
