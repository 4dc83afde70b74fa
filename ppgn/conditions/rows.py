"""A condition of its own for every row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ppgn import contracts
from ppgn.conditions.algebra import Combination
from ppgn.conditions.base import Condition
from ppgn.errors import InputError


class EachRow(Combination):
    """Row b of images (B, 3, H, W) in [0, 1] is judged by the b-th condition -> (B,).

    Views of a batch come one whole batch after another, as `ppgn.posterior.Posterior` puts them: (V · B, 3, H, W) ->
    (V · B,). Raises `InputError` for no condition, and for rows that are no multiple of the conditions.
    """

    def __init__(self, *terms: Condition) -> None:
        if not terms:
            raise InputError("EachRow() has no conditions; give one for each row of a batch")
        super().__init__(*terms)
        self.rows = len(terms)

    def forward(self, x: Tensor) -> Tensor:
        """(V · B, 3, H, W) in [0, 1] -> (V · B,)."""
        self._check(len(x))
        parts = [term(x[row :: len(self.terms)]) for row, term in enumerate(self.terms)]
        return torch.stack(parts, dim=1).flatten()

    def combine(self, values: Tensor) -> Tensor:
        """Raises `InputError`: each row has but one of them."""
        raise InputError("conditions of each row's own have no anchors in common; sample them one by one")

    def complement(self, x: Tensor) -> Tensor:
        """(V · B, 3, H, W) in [0, 1] -> each row's log(1 − p), (V · B,)."""
        opposite: Tensor = EachRow(*(~term for term in self.terms))(x)  # type: ignore[operator]
        return opposite

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """What each image's own condition reports of it."""
        self._check(len(images))
        said = [term.describe(images[row :: len(self.terms)]) for row, term in enumerate(self.terms)]  # type: ignore[operator]
        return [row for view in zip(*said, strict=True) for row in view]

    def _check(self, rows: int) -> None:
        if rows % len(self.terms):
            raise InputError(f"{rows} rows for {len(self.terms)} conditions; expected one row for each, or a multiple")


def each_row(conditions: Sequence[contracts.Condition]) -> contracts.Condition:
    """`EachRow`, or the condition itself where it is one and the same for all rows."""
    alike = all(condition is conditions[0] for condition in conditions)
    return conditions[0] if alike else EachRow(*cast("Sequence[Condition]", conditions))
