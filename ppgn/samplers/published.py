"""The samplers that were published with the papers, as their released code has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppgn.samplers.langevin import Langevin, Normalize, Schedule
from ppgn.samplers.sampler import ClassGradient


@dataclass(frozen=True, kw_only=True)
class Released(Langevin):
    """The sampler of PPGN (Noiseless Joint PPGN-h), its quirks included; codes are post-ReLU fc6 features.

    A chain through several targets wants `lr_end` = `lr`, since the schedule runs on.
    Source: the released code of PPGN (arXiv 1612.00005).
    """

    epsilon1: float = 1e-5  # weight of the prior's residual R(h) − h; only its ratio to epsilon2 counts
    epsilon2: float = 1.0  # weight of the condition's gradient
    epsilon3: float = 1e-17
    lr: float = 1.0  # mean change per coordinate and step at the start
    lr_end: float = 1.0
    schedule: Schedule = "chain"
    normalize: Normalize = "drift"
    clip: tuple[float, float] | None = (0.0, 30.0)
    steps: int = 200
    class_gradient: ClassGradient = "truncated"
    views: int = 0


@dataclass(frozen=True, kw_only=True)
class DGNAM(Langevin):
    """The sampler of DGN-AM: the condition's gradient alone, brought to unit mean size, clip and decay.

    Its two normalised steps, in pixels and then in codes, are one: the second undoes the size of the first. Its
    gradient is that of the logit, of which "truncated" has the direction. The defaults of `lr` and `clip` are for
    whitened codes; 8 and [0, mean + 3 standard deviations] of every unit were published for the 4096 features of fc6,
    whose standard deviation is 3.74.

    Source: the released code of DGN-AM (arXiv 1605.09304).
    """

    priors: ClassVar[tuple[str, ...]] = ("gaussian",)  # without weight, and it costs nothing

    epsilon1: float = 0.0
    epsilon2: float = 1.0  # weight of the condition's gradient
    epsilon3: float = 0.0
    lr: float = 2.14  # mean change per coordinate at the start: 8 for fc6, whose standard deviation is 3.74
    lr_end: float = 1e-10
    normalize: Normalize = "drift"
    clip: tuple[float, float] | None = (-3.0, 3.0)  # bounds for every coordinate of a code: 3 standard deviations
    decay: float = 0.99
    steps: int = 200
    class_gradient: ClassGradient = "truncated"
    views: int = 0
