"""What all conditions share: an algebra of operators, a report, and the kinds of gradient."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppgn.errors import InputError, check_known

if TYPE_CHECKING:
    from ppgn.conditions.algebra import And, Not, Or, Weighted

GRADIENTS = ("full", "truncated")  # of log p: that of its value, or that of the sampler released with PPGN


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
    refers to its operands and never changes them. `gradient` is one of `GRADIENTS`; raises `InputError` for another.
    """

    rows = 1  # a batch has as many, or a multiple

    def __init__(self, gradient: str = "full") -> None:
        super().__init__()
        self.gradient = check_known("gradient", gradient, GRADIENTS)

    def with_gradient(self, kind: str) -> Condition:
        """The same question, its networks shared, with another of `GRADIENTS`; the value is the same."""
        other = copy.copy(self)
        other.gradient = check_known("gradient", kind, GRADIENTS)
        return other

    @property
    def in_place(self) -> bool:
        """Whether it looks at pixels in their places, so that random views are kept away from it (`PPGN.posterior`)."""
        return False

    @property
    def rare(self) -> bool:
        """Whether few photographs show what it asks for, so that chains do better from noise (`PPGN.suited`)."""
        return False

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
        if not callable(body):
            raise InputError(f"a condition cannot be a {type(body).__name__}; give a name, an nn.Module or a callable")
        self.body = body
        self.name = str(getattr(body, "name", getattr(body, "__name__", type(body).__name__)))

    def with_gradient(self, kind: str) -> Condition:
        """What it offers itself, if it does."""
        return Plain(self.body.with_gradient(kind)) if hasattr(self.body, "with_gradient") else self

    @property
    def in_place(self) -> bool:
        """What it says of itself."""
        return bool(getattr(self.body, "in_place", False))

    @property
    def rare(self) -> bool:
        """What it says of itself."""
        return bool(getattr(self.body, "rare", False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        return self.body(x)

    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """What it reports of each image itself, or "log_prob"."""
        own: list[dict[str, Any]] = getattr(self.body, "describe", super().describe)(images)
        return own
