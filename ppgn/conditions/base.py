"""What all conditions share: an algebra of operators, and a report."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ppgn.conditions.algebra import And, Not, Or, Weighted


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

    @property
    def in_place(self) -> bool:
        """Whether it looks at pixels in their places, so that random views are kept away from it (`PPGN.posterior`)."""
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
