"""Convolutions, group norms and curves whose rows do not depend on how many there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SMALL = 20480  # values of a lone image, up to which PyTorch convolves it without oneDNN
TRANSPOSED = frozenset((torch.conv_transpose2d, F.conv_transpose2d))
LANES = 32  # values that the widest registers take at once; PyTorch computes what is left over by other code
CURVES = frozenset(
    (torch.sigmoid, Tensor.sigmoid, F.sigmoid, F.silu, F.softplus, F.gelu, F.mish, F.elu, F.selu, F.celu, F.logsigmoid)
)
NORMS = frozenset((torch.group_norm, F.group_norm))
CONVOLUTIONS = TRANSPOSED | {torch.conv2d, F.conv2d}


class AlikeInAnyBatch(TorchFunctionMode):
    """While it is entered, a CPU convolves and norms an image in single precision alike in a batch of any size.

    PyTorch has two libraries for that and chooses by the number of images; they round differently, and a long chain
    amplifies the difference. Here a pointwise convolution on one thread, or of small images, is a matrix product for
    every image, without moving memory, which is also faster; any other convolution of a small lone image runs on two
    copies of it, for which PyTorch takes the library of larger batches. A group norm on several threads sees images
    contiguous, since it adds up others in an order that depends on how they lie in memory, and a lone one may lie
    otherwise than a batch. A curve (sigmoid, SiLU, ...) is computed of so many rows that the registers are full. The
    mode reaches Python code, not the inside of a TorchScript.

    Source of the choice: `use_mkldnn` in PyTorch's ATen/native/Convolution.cpp.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """PyTorch calls this in place of every function of its own."""
        kwargs = kwargs or {}
        if func in CURVES and args and args[0].device.type == "cpu" and args[0].numel() % LANES:
            return _curve(func, *args, **kwargs)
        if func in NORMS and args[0].device.type == "cpu" and torch.get_num_threads() > 1:
            return func(args[0].contiguous(), *args[1:], **kwargs)
        if func not in CONVOLUTIONS or len(args) < 2 or args[0].device.type != "cpu":
            return func(*args, **kwargs)
        x, weight, rest = args[0], args[1], args[2:]
        if x.dim() != 4 or max(weight.shape[-2:]) > 3 or _setting(args, kwargs, 6, "groups", 1) != 1:
            return func(*args, **kwargs)  # by oneDNN, always
        stride, padding = _setting(args, kwargs, 3, "stride", 1), _setting(args, kwargs, 4, "padding", 0)
        pointwise = weight.shape[-2:] == (1, 1) and stride in (1, (1, 1)) and padding in (0, (0, 0))
        several = torch.get_num_threads() > 1
        if pointwise and not (several and x[:1].numel() > SMALL):
            matrix = weight.flatten(1) if func in TRANSPOSED else weight.flatten(1).t()
            bias = _setting(args, kwargs, 2, "bias", None)
            if several and len(x) > 1:
                return torch.cat([_pointwise(part, matrix, bias) for part in x.split(1)])
            return _pointwise(x, matrix, bias)
        if len(x) == 1 and x.numel() <= SMALL:
            return func(torch.cat([x, x]), weight, *rest, **kwargs)[:1]
        return func(*args, **kwargs)


def _pointwise(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Images (B, C, H, W), every position of which is multiplied by a matrix (C, D) -> (B, D, H, W)."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # a view where memory is channels-last
    matrices = matrix.expand(len(x), -1, -1)
    out = torch.bmm(rows, matrices) if bias is None else torch.baddbmm(bias, rows, matrices)
    placed: Tensor = out.unflatten(1, x.shape[-2:])
    return placed.permute(0, 3, 1, 2)


def _curve(func: Callable[..., Tensor], x: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
    """An elementwise function of (B, ...), the rows repeated until there is no rest."""
    rows = x if x.dim() else x[None]
    whole = LANES // math.gcd(rows[:1].numel(), LANES)
    out = func(rows[torch.arange(-(-len(rows) // whole) * whole) % len(rows)], *args, **kwargs)[: len(rows)].view_as(x)
    return x.copy_(out) if inplace else out


def _setting(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    """An argument of a convolution."""
    return args[place] if len(args) > place else kwargs.get(name, default)
