"""What is climbed by: pixels, a Fourier spectrum with decorrelated colours, or the phases of a natural spectrum.

Each makes numbers (B, ...) from a chain's noise, `start`, and images (B, 3, S, S) in [0, 1] of these, `image`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn import paths
from ppgn.contracts import NoiseSource

# Colours of natural images as mixtures of independent ones; the largest column has norm 1 (Lucid, Olah et al. 2017).
COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]) / 0.4624
SPECTRUM = "spectrum.npy"  # mean |rfft2| of photographs with decorrelated colours, (3, 128, 65), in checkpoints/


@dataclass(frozen=True)
class Pixels:
    """The pixels themselves: `mean` grey and normal noise of standard deviation `noise`, kept within [0, 1]."""

    mean: float = 0.5
    noise: float = 0.04

    def start(self, noise: NoiseSource, side: int) -> Tensor:
        """Numbers to start from, (B, 3, side, side)."""
        return (self.mean + self.noise * noise.normal("init", (3, side, side))).clamp(0, 1)

    def image(self, numbers: Tensor) -> Tensor:
        """Their images, (B, 3, S, S)."""
        return numbers


@dataclass(frozen=True)
class Fourier:
    """A spectrum, divided by frequency, with decorrelated colours through a sigmoid.

    Source: Lucid (Olah et al. 2017), Differentiable Image Parameterizations (Mordvintsev et al. 2018).
    """

    noise: float = 0.01

    def start(self, noise: NoiseSource, side: int) -> Tensor:
        """Numbers to start from, (B, 3, side, side // 2 + 1, 2)."""
        return self.noise * noise.normal("init", (3, side, side // 2 + 1, 2))

    def image(self, numbers: Tensor) -> Tensor:
        """Their images, (B, 3, S, S)."""
        side = numbers.shape[2]
        spectrum = torch.view_as_complex(numbers) / frequencies(side).to(numbers)
        return coloured(torch.fft.irfft2(spectrum, (side, side), norm="ortho") / 4)


@dataclass(frozen=True)
class Phase:
    """The phases of a spectrum whose magnitudes are those of photographs.

    Source: MACO (Fel et al. 2023, arXiv 2306.06805).
    """

    def start(self, noise: NoiseSource, side: int) -> Tensor:
        """Numbers to start from, (B, 3, side, side // 2 + 1)."""
        return noise.normal("init", (3, side, side // 2 + 1))

    def image(self, numbers: Tensor) -> Tensor:
        """Their images, (B, 3, S, S)."""
        side = numbers.shape[2]
        spectrum = torch.polar(natural(side).to(numbers).expand_as(numbers), standardized(numbers))
        return coloured(standardized(torch.fft.irfft2(spectrum, (side, side))))


def frequencies(side: int) -> Tensor:
    """The frequencies of a spectrum in cycles per pixel, at least one per image, (side, side // 2 + 1)."""
    high, wide = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    found: Tensor = (high.square() + wide.square()).sqrt().clamp_min(1 / side)
    return found


@cache
def natural(side: int) -> Tensor:
    """The mean magnitudes of photographs' spectra, (3, side, side // 2 + 1); those of other sizes are interpolated."""
    table = torch.from_numpy(np.load(paths.checkpoints() / SPECTRUM)).float()
    if side == table.shape[1]:
        return table
    whole = torch.fft.fftshift(table.log(), dim=1)
    resized = F.interpolate(whole[None], (side, side // 2 + 1), mode="bilinear", align_corners=True)[0]
    found: Tensor = torch.fft.ifftshift(resized, dim=1).exp()
    return found


def measured(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) in [0, 1] -> their mean |rfft2| with decorrelated colours, (3, S, S // 2 + 1)."""
    logits = torch.logit(images * 0.98 + 0.01)
    plain = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(COLOURS).to(images), logits)
    found: Tensor = torch.fft.rfft2(plain).abs().mean(0)
    return found


def standardized(x: Tensor) -> Tensor:
    """Rows (B, ...) with mean 0 and standard deviation 1 each."""
    dims = tuple(range(1, x.dim()))
    return (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + 1e-5)


def coloured(x: Tensor) -> Tensor:
    """Decorrelated colours (B, 3, S, S) -> images (B, 3, S, S) in [0, 1]."""
    return torch.sigmoid(torch.einsum("ij,bjhw->bihw", COLOURS.to(x), x))
