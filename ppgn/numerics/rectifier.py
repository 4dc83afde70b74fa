"""ReLU6 in place, without the copy of its input that PyTorch keeps for the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReLU6(nn.ReLU6):
    """`torch.nn.ReLU6(inplace=True)`, whose gradient is taken from what comes out; the same numbers."""

    counted = False  # by a digest of a network: it computes what PyTorch's does

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape; what is given is changed, unless it is a leaf or a view in a graph."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return x.clamp_(0, 6)
        if x.is_leaf or x._is_view():
            return F.relu6(x)
        out: Tensor = _InPlace.apply(x)
        return out


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.clamp_(0, 6))
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], out, 0, 6)
        return found


def in_place(network: nn.Module) -> nn.Module:
    """The same network, in place: its activations in place where that saves a pass over memory, else not.

    PyTorch keeps a copy of what goes into an activation whose gradient needs that: of ReLU6 there is this one instead,
    of others the one that is not in place.
    """
    for module in network.modules():
        if type(module) is nn.ReLU6 and module.inplace:
            module.__class__ = ReLU6
        elif isinstance(module, nn.Hardtanh | nn.Hardswish | nn.SiLU) and not isinstance(module, ReLU6):
            module.inplace = False
    return network
