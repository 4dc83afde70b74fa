"""Frozen convolutions with ReLU6 behind them, as one node of the graph: the same numbers by fewer calls of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ONE = (1, 1)
_clamped_back = torch.ops.aten.hardtanh_backward.default
_convolved_back = torch.ops.aten.convolution_backward.default


class Layer(NamedTuple):
    """A convolution: a pointwise one of stride 1, or one over space that sees each channel alone."""

    weight: Tensor  # (D, C, 1, 1), or (C, 1, k, k)
    bias: Tensor | None  # (D,)
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    pads: Callable[[Tensor], Sequence[int]]  # what F.pad adds before it: left, right, above, below, or nothing
    rectified: bool  # whether ReLU6 follows
    matrix: Tensor | None  # (1, D, C) of a pointwise one, and no weight of its own


class Chained(torch.autograd.Function):
    """`layers` of frozen weights, one after the other, on one thread of a CPU; with `added` their input is added.

    What is `added` to is not rectified. `plain` computes the same of x in the usual way: for gradients of gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[Layer], added: bool, plain: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        kept: list[Tensor | None] = [x]
        padded, out = [], x
        for layer in layers:
            seen, pads = None, layer.pads(out)
            if layer.matrix is not None:
                bias, rows, matrix = layer.bias, _rows(out), _each(layer.matrix.transpose(1, 2), x)
                changed = torch.bmm(rows, matrix) if bias is None else torch.baddbmm(bias, rows, matrix)
                out = _placed(changed, out.shape[2:])
            else:
                seen = F.pad(out, pads) if pads else out
                out = torch.conv2d(seen, layer.weight, layer.bias, layer.stride, layer.padding, ONE, len(layer.weight))
            padded.append(pads)
            kept += [seen, out.clamp_(0, 6) if layer.rectified else None]
        ctx.layers, ctx.padded, ctx.added, ctx.plain = layers, padded, added, plain
        ctx.save_for_backward(*kept)
        return out.add_(x) if added else out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """(B, D, H', W') -> (B, C, H, W)."""
        x, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            (again,) = torch.autograd.grad(ctx.plain(x), x, gradients[0], create_graph=True)
            return again, None, None, None
        found = gradients[0]
        for layer, pads in zip(reversed(ctx.layers), reversed(ctx.padded), strict=True):
            out, seen = kept.pop(), kept.pop()
            if out is not None:
                found = _clamped_back(found, out, 0, 6)
            if layer.matrix is not None:
                found = _placed(torch.bmm(_rows(found), _each(layer.matrix, x)), found.shape[2:])
                continue
            geometry = layer.stride, layer.padding, ONE, False, (0, 0), len(layer.weight)
            found = _convolved_back(found, seen, layer.weight, None, *geometry, (True, False, False))[0]
            if pads:
                left, right, above, below = pads
                found = found[:, :, above : found.shape[2] - below, left : found.shape[3] - right]
        return found + gradients[0] if ctx.added else found, None, None, None


def _each(matrix: Tensor, x: Tensor) -> Tensor:
    """(1, D, C), once for each of B images."""
    return matrix if len(x) == 1 else matrix.expand(len(x), -1, -1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _placed(rows: Tensor, size: torch.Size) -> Tensor:
    """(B, H W, C) -> (B, C, H, W)."""
    return rows.view(len(rows), *size, rows.shape[2]).permute(0, 3, 1, 2)
