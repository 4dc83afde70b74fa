"""What every sampler of ours is: a kernel, with all that decides how its chains run."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from torch import Tensor

from ppgn.contracts import Info, Kernel, NoiseSource, State, Target
from ppgn.errors import InputError
from ppgn.samplers.views import Jitter

ClassGradient = Literal["full", "truncated"]
KINDS: dict[type, tuple[type, str]] = {  # of settings: what they may be in fact
    float: (numbers.Real, "a finite number"),
    int: (numbers.Integral, "a whole number"),
    bool: (bool, "true or false"),
}


@dataclass(frozen=True, kw_only=True)
class Sampler(Kernel):
    """A kernel, its number of steps, what it wants of its target. Raises `InputError` for settings that cannot be."""

    priors: ClassVar[tuple[str, ...]] = ("joint", "gaussian")  # names that suit it, the best first

    steps: int = 100  # steps under every target
    class_gradient: ClassGradient = "full"  # gradient of log p_k: full, or truncated to that of logit k times 1 − p_k
    views: int = 0  # random views of the drawing per step, in front of the condition; 0 for none
    shift: float = 0.05  # a view moves by up to this share of the image's side
    zoom: float = 1.3  # and magnifies by up to this factor

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in (item.name for item in fields(self)):
            hint, value = hints[name], getattr(self, name)
            if get_origin(hint) is Literal:
                self._check(name, value in get_args(hint), f"one of: {', '.join(get_args(hint))}")
            elif hint in KINDS:
                kind, expected = KINDS[hint]
                fine = isinstance(value, kind) and isinstance(value, bool) == (hint is bool)
                self._check(name, fine and (hint is not float or math.isfinite(value)), expected)
        self._check("steps", self.steps >= 1, "1 or more")
        if self.views:
            Jitter(self.views, self.shift, self.zoom)

    def _check(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            value = getattr(self, name)
            raise InputError(f"{name} is {list(value) if isinstance(value, tuple) else value!r}; expected {expected}")

    @property
    def transform(self) -> Jitter | None:
        """The random views; None where there are none, or each is the image itself."""
        plain = self.views == 0 or (self.shift, self.zoom) == (0, 1)
        return None if plain else Jitter(self.views, self.shift, self.zoom)

    def last(self, share: float) -> Self:
        """The sampler of the last `share`, in (0, 1], of the steps; schedules start with the value they have there."""
        return replace(self, steps=max(1, round(share * self.steps)))

    @staticmethod
    def of(kernel: Kernel) -> Sampler:
        """The kernel itself if it is a `Sampler`, else a `Sampler` that steps as it does, with the settings it has."""
        if isinstance(kernel, Sampler):
            return kernel
        if not (hasattr(kernel, "init") and hasattr(kernel, "step")):
            given = "null" if kernel is None else type(kernel).__name__
            raise InputError(f"{given} is no sampler; expected init and step (ppgn.contracts.Kernel)")
        known = {item.name: getattr(kernel, item.name) for item in fields(Sampler) if hasattr(kernel, item.name)}
        return _Outside(kernel=kernel, **known)


@dataclass(frozen=True, kw_only=True)
class _Outside(Sampler):
    """A kernel that was written without `Sampler`."""

    kernel: Kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "priors", tuple(getattr(self.kernel, "priors", Sampler.priors)))

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        return self.kernel.init(h, target, noise)

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        return self.kernel.step(state, target, noise, i, steps)
