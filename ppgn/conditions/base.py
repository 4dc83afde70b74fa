"""What all conditions share: an algebra of operators, and a report."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppgn.errors import InputError

if TYPE_CHECKING:
    from ppgn.conditions.algebra import And, Not, Or, Weighted

GRADIENTS = ("full", "truncated")  # of log p: that of the value, or that of the sampler released with the paper


def log1mexp(log_p: Tensor) -> Tensor:
    """log(1 − exp(log_p)) for log_p < 0, accurate at both ends (Mächler 2012).

    A log_p that has been rounded to 0 counts as one machine epsilon below it: the result is finite, its gradient 0.
    """
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    near_zero = log_p > -math.log(2)
    # Each branch sees harmless values where the other one is taken, so that no NaN enters the gradient.
    close = torch.log(-torch.expm1(torch.where(near_zero, log_p, -1.0)))
    far = torch.log1p(-torch.exp(torch.where(near_zero, -1.0, log_p)))
    return torch.where(near_zero, close, far)


class Condition(nn.Module, ABC):
    """Says what to draw: images (B, 3, H, W) in [0, 1] -> per-sample log p(y | x), (B,), differentiable.

    Conditions combine: `a & b` adds (both), `a | b` is logsumexp (either), `w * a` weighs, `~a` repels. A combination
    refers to its operands and never changes them.
    """

    rows = 1  # a batch has a multiple of so many rows

    @property
    def in_place(self) -> bool:
        """Whether it looks at pixels in their places, so that random views are kept away from it (`PPGN.posterior`)."""
        return False

    def with_gradient(self, kind: str) -> Condition:
        """The same question with one of `GRADIENTS`; itself where it knows but one."""
        return self

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log p(y | x), (B,)."""

    def complement(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log(1 − p(y | x)), (B,); what `~` asks for."""
        return log1mexp(self(x))

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """What to report of each image of (B, 3, H, W) in [0, 1]: plain numbers and texts, "log_prob" at least."""
        return [{"log_prob": value} for value in self(images).tolist()]

    def __and__(self, other: Condition) -> And:
        from ppgn.conditions.algebra import And

        return And(self, other) if isinstance(other, Condition) else NotImplemented

    def __or__(self, other: Condition) -> Or:
        from ppgn.conditions.algebra import Or

        return Or(self, other) if isinstance(other, Condition) else NotImplemented

    def __mul__(self, weight: float) -> Weighted:
        from ppgn.conditions.algebra import Weighted

        return Weighted(self, weight) if isinstance(weight, int | float) else NotImplemented

    __rmul__ = __mul__

    def __invert__(self) -> Not:
        from ppgn.conditions.algebra import Not

        return Not(self)


class Plain(Condition):
    """Any callable, images (B, 3, H, W) -> (B,), as a condition that takes part in the algebra."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body

    @property
    def in_place(self) -> bool:
        """What it says of itself."""
        return bool(getattr(self.body, "in_place", False))

    @property
    def name(self) -> str:
        """Its own name, or that of its class."""
        named = self.body if isinstance(self.body, FunctionType) else type(self.body)
        return str(getattr(self.body, "name", named.__name__))

    def with_gradient(self, kind: str) -> Condition:
        """What it offers itself, if it does."""
        return Plain(self.body.with_gradient(kind)) if hasattr(self.body, "with_gradient") else self

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        return self.body(x)

    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """What it reports of each image itself, or "log_prob"."""
        own: list[dict[str, Any]] = getattr(self.body, "describe", super().describe)(images)
        return own


def as_condition(given: Any) -> Condition:
    """A condition as it is, any other callable as `Plain`. Raises `InputError` for what cannot be called."""
    if not isinstance(given, Condition) and not callable(given):
        raise InputError(f"a condition cannot be a {type(given).__name__}; give a name, an nn.Module or a callable")
    return given if isinstance(given, Condition) else Plain(given)
