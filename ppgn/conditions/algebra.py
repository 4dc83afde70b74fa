"""Combinations of conditions: both, either, weighed, repelled."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppgn.conditions.base import Condition, log1mexp
from ppgn.errors import InputError


class Combination(Condition):
    """A condition over other conditions, `terms`."""

    def __init__(self, *terms: Condition) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.rows = max(term.rows for term in terms)

    @property
    def in_place(self) -> bool:
        """Whether any of the terms is."""
        return any(getattr(term, "in_place", False) for term in self.terms)

    @property
    def rare(self) -> bool:
        """Whether any of the terms is."""
        return any(getattr(term, "rare", False) for term in self.terms)

    def with_gradient(self, kind: str) -> Condition:
        """The same combination of its terms, each with that gradient."""
        other = super().with_gradient(kind)
        other._modules = {"terms": nn.ModuleList(cast(Condition, term).with_gradient(kind) for term in self.terms)}
        return other

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        return self.combine(torch.stack([term(x) for term in self.terms]))

    @abstractmethod
    def combine(self, values: Tensor) -> Tensor:
        """Each term's log p, (T, B) -> that of the combination, (B,)."""

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """The combined "log_prob" of each image, and under "terms" what every operand reports of it."""
        parts = zip(*(term.describe(images) for term in self.terms), strict=True)  # type: ignore[operator]
        own = super().describe(images)
        return [{**row, "terms": list(rows)} for row, rows in zip(own, parts, strict=True)]


class And(Combination):
    """All of them: Σ log p, a product of experts."""

    def combine(self, values: Tensor) -> Tensor:
        """(T, B) -> (B,)."""
        return values.sum(0)


class Or(Combination):
    """Any of them: log Σ p, a sum of experts (no log-probability where they overlap: it may exceed 0)."""

    def combine(self, values: Tensor) -> Tensor:
        """(T, B) -> (B,)."""
        return values.logsumexp(0)


class Weighted(Combination):
    """w · log p: p to the power w. A negative weight drives away, without a bound; see `Not` for one that has it."""

    def __init__(self, term: Condition, weight: float) -> None:
        super().__init__(term)
        if not math.isfinite(weight):
            raise InputError(f"weight {weight} of a condition: expected a finite number")
        self.weight = float(weight)

    def combine(self, values: Tensor) -> Tensor:
        """(T, B) -> (B,)."""
        return self.weight * values[0]


class Not(Combination):
    """Anything but it: log(1 − p). Its push fades once p is small, and `~~a` is a."""

    @property
    def rare(self) -> bool:
        """No: most photographs are something else, if only one of them were asked for."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        return cast(Condition, self.terms[0]).complement(x)

    def combine(self, values: Tensor) -> Tensor:
        """(1, B) -> (B,), less exactly than `forward` where the term's p is near 1."""
        return log1mexp(values[0])

    def complement(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the operand's own log p, (B,)."""
        log_p: Tensor = self.terms[0](x)
        return log_p
