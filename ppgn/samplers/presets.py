"""Samplers under a name: everything that decides how a chain runs, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from ppgn.contracts import Jacobian, Kernel
from ppgn.errors import InputError
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.annealed import Normalize as Guidance
from ppgn.samplers.langevin import Langevin, Normalize, Schedule
from ppgn.samplers.mala import Mala
from ppgn.samplers.views import Jitter

ClassGradient = Literal["full", "truncated"]


@dataclass(frozen=True)
class Sampler:
    """How to sample: a kernel, how often it steps, and what it wants from the target it walks on.

    transform: random views for `Posterior`, or None.
    class_gradient: which gradient of log p_k a classifier should give: "full" is that of the log-softmax,
        "truncated" keeps the entry of logit k alone, 1 − p_k, as the released sampler of PPGN does.
    priors: names of the priors that suit it, the best first; a model may not have them all.
    """

    kernel: Kernel
    steps: int
    transform: nn.Module | None = None
    class_gradient: ClassGradient = "full"
    priors: tuple[str, ...] = ("joint", "gaussian")

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; expected 1 or more")
        if self.class_gradient not in get_args(ClassGradient):
            choices = ", ".join(get_args(ClassGradient))
            raise InputError(f"class_gradient is '{self.class_gradient}'; expected one of: {choices}")


def ppgn(
    *,
    epsilon1: float = 0.1,
    epsilon2: float = 0.07,
    epsilon3: float = 0.02,
    lr: float = 1.0,
    lr_end: float = 0.1,
    schedule: Schedule = "target",
    normalize: Normalize = "condition",
    clip: tuple[float, float] | None = None,
    reset_every: int | None = None,
    fade: bool = False,
    steps: int = 100,
    views: int = 1,
    shift: float = 0.05,
    zoom: float = 1.3,
    class_gradient: ClassGradient = "full",
) -> Sampler:
    """Our default, for whitened codes: all three terms in units of codes, cooled by lr, jittered views in front of C.

    Arguments are those of `Langevin`, `Jitter` (views, shift, zoom) and `Sampler`.
    """
    kernel = Langevin(epsilon1, epsilon2, epsilon3, lr, lr_end, schedule, normalize, _bounds(clip), reset_every, fade)
    return Sampler(kernel, steps, Jitter(views, shift, zoom), class_gradient)


def released(
    *,
    epsilon1: float = 1e-5,
    epsilon2: float = 1.0,
    epsilon3: float = 1e-17,
    lr: float = 1.0,
    lr_end: float = 1.0,
    schedule: Schedule = "chain",
    normalize: Normalize = "drift",
    clip: tuple[float, float] | None = (0.0, 30.0),
    reset_every: int | None = None,
    steps: int = 200,
    class_gradient: ClassGradient = "truncated",
) -> Sampler:
    """The sampler published with PPGN (Noiseless Joint PPGN-h), its quirks included; codes are post-ReLU fc6.

    A chain through several targets wants lr_end = lr, since the schedule runs on. Arguments are those of `Langevin`
    and `Sampler`. Source: the released code of arXiv 1612.00005.
    """
    kernel = Langevin(epsilon1, epsilon2, epsilon3, lr, lr_end, schedule, normalize, _bounds(clip), reset_every)
    return Sampler(kernel, steps, None, class_gradient)


def dgn_am(
    *,
    lr: float = 2.14,
    lr_end: float = 1e-10,
    clip: tuple[float, float] | None = (-3.0, 3.0),
    decay: float = 0.99,
    steps: int = 200,
    class_gradient: ClassGradient = "truncated",
) -> Sampler:
    """The sampler published with DGN-AM: the condition's gradient alone, brought to unit mean size, clip and decay.

    Its two normalised steps, in pixels and then in codes, are one: the second undoes the size of the first. Its
    gradient is that of the logit, of which "truncated" has the direction. lr and clip count standard deviations of a
    code, for whitened ones; 8 and [0, mean + 3 standard deviations] of every unit for the 4096 features of fc6, whose
    standard deviation is 3.74, were published. Arguments are those of `Langevin` and `Sampler`; no prior is asked.

    Source: the released code of arXiv 1605.09304.
    """
    kernel = Langevin(0.0, 1.0, 0.0, lr, lr_end, "target", "drift", _bounds(clip), decay=decay)
    return Sampler(kernel, steps, None, class_gradient, priors=("gaussian",))


def mala(*, step_size: float = 0.05, warmup: int = 500, weight: float = 1.0, steps: int = 1000) -> Sampler:
    """Draws from p(h) · p(y | G(h))^weight itself; for priors with a density, and so without random views.

    Arguments are those of `Mala` and `Sampler`. Raises `InputError` where no step is left after the warm-up.
    """
    if warmup >= steps:
        raise InputError(f"warmup is {warmup}; expected less than steps={steps}")
    return Sampler(Mala(step_size, warmup, weight), steps, priors=("mixture", "gaussian"))


def annealed(
    *,
    sigma_max: float = 10.0,
    sigma_min: float = 0.02,
    epsilon1: float = 1.0,
    epsilon2: float = 1.5,
    epsilon3: float = 1.0,
    normalize: Guidance = "condition",
    fade: bool = False,
    corrections: int = 0,
    jacobian: Jacobian = "gaussian",
    steps: int = 100,
    views: int = 1,
    shift: float = 0.05,
    zoom: float = 1.3,
    class_gradient: ClassGradient = "full",
) -> Sampler:
    """From noise down the levels of a noise-conditional prior, jittered views in front of C.

    Arguments are those of `Annealed`, `Jitter` (views, shift, zoom) and `Sampler`.
    """
    kernel = Annealed(sigma_max, sigma_min, epsilon1, epsilon2, epsilon3, normalize, fade, corrections, jacobian)
    return Sampler(kernel, steps, Jitter(views, shift, zoom), class_gradient, priors=("mixture", "gaussian"))


def _bounds(clip: tuple[float, float] | None) -> tuple[float, float] | None:
    """The clip as a plain tuple; a configuration file can only write a list."""
    if clip is None:
        return None
    if len(clip) != 2:
        raise InputError(f"clip is {list(clip)}; expected [low, high], or null for no bounds")
    return float(clip[0]), float(clip[1])
