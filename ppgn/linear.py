"""Linear maps whose rows do not depend on how many there are."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 4  # a CPU's matrix product treats a remainder of rows below this differently


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b for rows (B, D), rounded on a CPU alike in a batch of any size.

    Products of matrices round the last B mod 4 rows differently from the others, and a long chain amplifies what was
    rounded. Here the rows are filled up to a multiple of four.
    """
    missing = -len(x) % ROWS
    if x.dim() != 2 or missing == 0 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    return F.linear(F.pad(x, (0, 0, 0, missing)), weight, bias)[: len(x)]


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, D')."""
        return linear(x, self.weight, self.bias)
