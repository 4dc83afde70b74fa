"""The optimiser of Multifaceted Feature Visualization: a window on a growing image, denoised after every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import floor, prod
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.contracts import NoiseSource
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.visualize.regularization import tv_bregman
from ppgn.visualize.subject import Subject

Schedule = Literal["released", "linear"]
MEAN, SPREAD = 175.0, 8.0  # of the noise that a climb without a start image begins with, in 255 units
INPUT = 227  # the side of the published network's input, to which margins and weights belong


@dataclass(frozen=True)
class Phase:
    """So many steps on an image that is first resized; weights, steps and margins are in 255 units and pixels of 227.

    `margin`: pixels at the window's edge that rest. `window`: how far it wanders, in shares of the room it has.
    `weight` of the total-variation denoising, little being smooth, and the size of a `step`, each from start to end.
    `probability`: whether the softmax's gradient counts, or that of the activation.
    """

    iterations: int
    zoom: float
    margin: int
    window: float
    weight: tuple[float, float]
    step: tuple[float, float]
    probability: bool = False


FROM_IMAGE = (
    Phase(190, 1.0, 0, 0.3, (0.4, 0.4), (1, 2)),
    Phase(150, 1.2, 0, 0.3, (0.01, 2), (1, 1)),
    Phase(20, 1.0, 50, 0.2, (0.1, 2), (2, 2)),
    Phase(10, 1.0, 0, 0.3, (0.4, 2), (2, 2)),
)
FROM_NOISE = (  # biased to the centre
    Phase(190, 1.0, 0, 0.3, (0.001, 0.05), (11, 11), probability=True),
    Phase(150, 1.2, 0, 0.3, (0.01, 0.08), (6, 6), probability=True),
    Phase(150, 1.2, 0, 0.3, (0.01, 2), (1, 1)),
    Phase(30, 1.0, 50, 0.1, (0.1, 2), (3, 3)),
    Phase(10, 1.0, 0, 0.3, (0.01, 2), (6, 3)),
)


@dataclass(frozen=True)
class Multifaceted:
    """Climbs from `start`, images (B, 3, S, S) in [0, 1], or from noise without one.

    `schedule`: "released" has the weight s(1 − 1/n) + e·i/n at step i of n and whole steps, as the published code ran;
    "linear" goes straight from s to e.

    Source: Nguyen et al. 2016 (arXiv 1602.03616) and its released code.
    """

    start: Tensor | None = None
    schedule: Schedule = "released"
    iterations: int = 100  # of the denoising, at most

    def __call__(
        self, subject: Subject, noise: NoiseSource, side: int, evaluations: int, callback: Callable[[int], object]
    ) -> Tensor:
        """Images (B, 3, side, side) in [0, 1], a row per seed; phases share the evaluations as published."""
        phases = FROM_NOISE if self.start is None else FROM_IMAGE
        window = round(side / prod(phase.zoom for phase in phases))
        if self.start is None:
            x = MEAN + SPREAD * noise.normal("init", (3, window, window))
        else:
            x = 255 * _resized(self.start, window)
        with AlikeInAnyBatch() if x.device.type == "cpu" else nullcontext():
            for phase, steps in zip(phases, shared(evaluations, [p.iterations for p in phases]), strict=True):
                grown = round(x.shape[-1] * phase.zoom)
                x = x if phase.zoom == 1 else _resized(x, grown)
                for i in range(steps):
                    x = self._step(subject, phase, x, window, noise, i, steps)
                    callback(1)
        return _resized(x / 255, side).clamp(0, 1)

    def _step(
        self, subject: Subject, phase: Phase, x: Tensor, window: int, noise: NoiseSource, i: int, steps: int
    ) -> Tensor:
        """Images (B, 3, S, S) in 255 units after a step in a window of each."""
        room = x.shape[-1] - window
        drawn = room / 2 + phase.window * room * noise.normal("window", (2,)).double()
        corners = drawn.clamp(0, room).long().tolist()
        seen = torch.stack([row[:, b : b + window, a : a + window] for row, (a, b) in zip(x, corners, strict=True)])
        seen.requires_grad_()
        score = subject.condition(seen / 255) if phase.probability else subject(seen / 255)
        (g,) = torch.autograd.grad(score.sum(), seen)
        margin = round(phase.margin * window / INPUT)
        if margin:
            g = F.pad(g[..., margin:-margin, margin:-margin], (margin,) * 4)
        with torch.no_grad():
            size = g.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-20)
            seen = (seen + self._at(phase.step, i, steps, whole=True) / size * g).clamp(0, 255)
            weight = self._at(phase.weight, i, steps) * INPUT / window  # alike at any size, as a total variation is
            seen = tv_bregman(seen, weight, self.iterations)
            x = x.clone()
            for row, part, (a, b) in zip(x, seen, corners, strict=True):
                row[:, b : b + window, a : a + window] = part
        return x

    def _at(self, ends: Sequence[float], i: int, steps: int, whole: bool = False) -> float:
        start, end = ends
        if steps == 1:
            return start
        if self.schedule == "linear":
            return start + (end - start) * i / (steps - 1)
        return floor(start + (end - start) * i / steps) if whole else start * (1 - 1 / steps) + end * i / steps


def shared(total: int, parts: Sequence[int]) -> list[int]:
    """`total` in whole numbers as `parts` are to their sum."""
    ends = [round(total * end / sum(parts)) for end in accumulate(parts, initial=0)]
    return [b - a for a, b in pairwise(ends)]


def _resized(x: Tensor, side: int) -> Tensor:
    if x.shape[-1] == side:
        return x
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True)
