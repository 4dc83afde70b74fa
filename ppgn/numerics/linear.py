"""Linear maps whose rows do not depend on how many there are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 8  # of a block
TERMS = 8  # of a row; with a rest, some CPUs' products sum the first rows of a block in another order than the others


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b for rows (B, ..., D), rounded on a CPU alike in a batch of any size, as long as the weights are frozen.

    A CPU's matrix product chooses its way by the number of rows and rounds accordingly, and a long chain amplifies
    what was rounded. Here the rows are filled up to blocks of one size, each a product of its own, and to a length that
    leaves no rest; rows of several vectors are such blocks already.
    """
    if x.dim() < 2 or not len(x) or x.device.type != "cpu" or weight.requires_grad:
        return F.linear(x, weight, bias)
    if x.dim() > 2:
        return torch.cat([F.linear(row, weight, bias) for row in x.split(1)])
    rest = -x.shape[-1] % TERMS
    weight = F.pad(weight, (0, rest)) if rest else weight
    missing = -len(x) % ROWS
    x = F.pad(x, (0, rest, 0, missing)) if rest or missing else x
    blocks = [F.linear(block, weight, bias) for block in (x.split(ROWS) if len(x) > ROWS else [x])]
    found = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return found[:-missing] if missing else found


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., D) -> (B, ..., D')."""
        return linear(x, self.weight, self.bias)


def alike(network: nn.Module) -> nn.Module:
    """The same network, in place, with its linear maps as `Linear`: the same maps, a row the same in any batch."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network
