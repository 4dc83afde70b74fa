"""Annealing around anchors: from the code of a photograph that the condition likes, down a few low noise levels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ppgn.contracts import AnchoredTarget, Info, NoiseSource, State, Target
from ppgn.errors import InputError
from ppgn.samplers.annealed import Annealed

GOLDEN = 11400714819323198485  # 2⁶⁴ divided by the golden ratio: multiples of it, modulo 2⁶⁴, spread evenly

EVEN = 1e-6  # an exponent that leaves all chances equal


@dataclass(frozen=True, kw_only=True)
class Anchored(Annealed):
    """`Annealed` from an anchor a with the prior N(a, s²), s = `spread`, in the place of the target's own.

    The target offers codes b_k of photographs and log p(y | G(b_k)) of each (`contracts.AnchoredTarget`). A chain's
    anchor is drawn, anew with every target, with the chances p(y | G(b_k))^t: t is 1, or so much less that chains have
    `variety`: that many anchors in effect, 1 / Σ chance². The draw is a function of the seed alone, and seeds in a row
    are spread evenly over the chances, so that few of them share an anchor. A chain that is given a start code has that
    as its anchor, until the target changes.

    Source: importance resampling (Rubin 1987), effective numbers (Kong 1992), Fibonacci hashing (Knuth 1973, 6.4).
    """

    priors: ClassVar[tuple[str, ...]] = ("bank",)

    steps: int = 10
    sigma_max: float = 0.5  # noise level at the start
    sigma_min: float = 0.05
    epsilon1: float = 1.0  # weight of the pull back to the anchor: 1 is exact
    epsilon2: float = 1.0
    fade: bool = True
    spread: float = 0.5  # standard deviation of codes around their anchor
    variety: float = 24.0  # how many anchors there are, in effect, for one target: at least

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("spread", 0 < self.spread < math.inf, "a finite number above 0")
        self._check("variety", 1 <= self.variety < math.inf, "a finite number from 1 up")

    def start(self, target: Target, noise: NoiseSource) -> Tensor:
        """Each chain's anchor, (B, *code_shape)."""
        codes, log_p = _anchored(target).anchors()
        chances = evened(log_p.double().cpu(), self.variety).softmax(dim=0).cumsum(dim=0)
        places = torch.tensor([seed * GOLDEN % 2**64 / 2**64 for seed in noise.seeds], dtype=torch.float64)
        rows = torch.searchsorted(chances, places * chances[-1], right=True).clamp_max(len(codes) - 1)
        return codes[rows.to(codes.device)]

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Put noise on the anchors (B, *code_shape) and evaluate them at `sigma_max`."""
        state = super().init(h, _anchored(target).near(h, self.spread), noise)
        return replace(state, memory={**state.memory, "anchor": h})

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps`: to the next level; the first under a new target begins at a new anchor."""
        anchor = state.memory["anchor"]
        if i > 0 and i % steps == 0:
            anchor = self.start(target, noise).to(anchor)
            state = replace(state, code=anchor)
        state, info = super().step(state, _anchored(target).near(anchor, self.spread), noise, i, steps)
        return replace(state, memory={**state.memory, "anchor": anchor}), info


def evened(log_p: Tensor, effective: float) -> Tensor:
    """log p, (N,), times 1, or so much less that there are `effective` of the N in effect, 1 / Σ p²."""
    exponent = 1.0
    while 1 / (exponent * log_p).softmax(dim=0).square().sum() < effective and exponent > EVEN:
        exponent *= 0.9
    return exponent * log_p


def _anchored(target: Target) -> AnchoredTarget:
    if not isinstance(target, AnchoredTarget):
        raise InputError("sampler anchored needs a target with anchors; use sampler=annealed")
    return target
