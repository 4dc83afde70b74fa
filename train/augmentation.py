"""Differentiable augmentation: what a discriminator sees, so that it cannot learn the photographs by heart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from train.shares import Share


class Augmentation:
    """Brightness, saturation, contrast and a cutout at random for each image (Zhao et al. 2020, DiffAugment).

    Their translation is left to the random window in which the comparator looks (`GeneratorTraining.crop`).
    """

    def __init__(
        self,
        brightness: float = 0.3,  # the most that is added to or taken from all channels
        saturation: float = 0.5,  # the most by which colours move away from or towards grey, as a share
        contrast: float = 0.25,  # the most by which pixels move away from or towards their mean, as a share
        colour: float = 0.5,  # the probability of these three
        cutout: float = 0.3,  # the probability of a black square
        hole: float = 0.33,  # its side, as a share of the image's
    ) -> None:
        self.amounts = brightness, saturation, contrast
        self.colour, self.cutout, self.hole = colour, cutout, hole

    def draw(self, count: int, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
        """Draw the changes for `count` images -> what makes them, the same at every call: (B, 3, H, W) -> the same."""
        rand = partial(Share.own().of, torch.rand, device=device)
        chosen = rand(count, 1, 1, 1) < self.colour
        brightness, saturation, contrast = (a * chosen * (2 * rand(count, 1, 1, 1) - 1) for a in self.amounts)
        centre, cut = rand(count, 2).T[:, :, None], rand(count, 1, 1) < self.cutout

        def augment(x: Tensor) -> Tensor:
            x = x + brightness
            for over, strength in ((1, saturation), ((1, 2, 3), contrast)):
                mean = x.mean(dim=over, keepdim=True)
                x = mean + (x - mean) * (1 + strength)
            rows, columns = (
                ((torch.arange(side, device=x.device) + 0.5) / side - place).abs() < self.hole / 2
                for side, place in zip(x.shape[-2:], centre, strict=True)
            )
            hole: Tensor = cut & rows[:, :, None] & columns[:, None, :]
            return x * ~hole[:, None]

        return augment
