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
    pads: Callable[[Tensor], Sequence[int]] | None  # what F.pad adds before it: left, right, above, below, or nothing
    rectified: bool  # whether ReLU6 follows
    matrix: Tensor | None  # (1, C, D) of a pointwise one, and no weight of its own
    turned: Tensor | None  # likewise, (1, D, C)


class Chain(NamedTuple):
    """Layers, one after the other, and whether what goes into the first is added to what comes out of the last.

    What is `added` to is not rectified.
    """

    layers: Sequence[Layer]
    added: bool


class Chained(torch.autograd.Function):
    """`chains` of frozen weights, one after the other, on one thread of a CPU.

    `plain` computes the same of x in the usual way: for gradients of gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, chains: Sequence[Chain], plain: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        kept: list[Tensor | None] = [x]
        padded, given, count = [], x, x.shape[0]
        for chain in chains:
            out = given
            for layer in chain.layers:
                seen, pads = None, () if layer.pads is None else layer.pads(out)
                if layer.matrix is not None:
                    rows, matrix = _rows(out), _each(layer.matrix, count)
                    bias = layer.bias
                    changed = torch.bmm(rows, matrix) if bias is None else torch.baddbmm(bias, rows, matrix)
                    out = _placed(changed, out.shape)
                else:
                    seen, weight = F.pad(out, pads) if pads else out, layer.weight
                    out = torch.conv2d(seen, weight, layer.bias, layer.stride, layer.padding, ONE, weight.shape[0])
                padded.append(pads)
                kept += [seen, out.clamp_(0, 6) if layer.rectified else None]
            given = out.add_(given) if chain.added else out
        ctx.chains, ctx.padded, ctx.plain = chains, padded, plain
        ctx.save_for_backward(*kept)
        return given

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """(B, D, H', W') -> (B, C, H, W)."""
        x, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            (again,) = torch.autograd.grad(ctx.plain(x), x, gradients[0], create_graph=True)
            return again, None, None
        found, padded, count = gradients[0], [*ctx.padded], x.shape[0]
        for chain in reversed(ctx.chains):
            given = found
            for layer in reversed(chain.layers):
                out, seen, pads = kept.pop(), kept.pop(), padded.pop()
                if out is not None:
                    found = _clamped_back(found, out, 0, 6)
                if layer.turned is not None:
                    found = _placed(torch.bmm(_rows(found), _each(layer.turned, count)), found.shape)
                    continue
                geometry = layer.stride, layer.padding, ONE, False, (0, 0), layer.weight.shape[0]
                found = _convolved_back(found, seen, layer.weight, None, *geometry, (True, False, False))[0]
                if pads:
                    left, right, above, below = pads
                    found = found[:, :, above : found.shape[2] - below, left : found.shape[3] - right]
            found = found + given if chain.added else found
        return found, None, None


def _each(matrix: Tensor, count: int) -> Tensor:
    """A matrix (1, C, D), once for each of `count` images."""
    return matrix if count == 1 else matrix.expand(count, -1, -1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _placed(rows: Tensor, shape: torch.Size) -> Tensor:
    """(B, H W, C), (B, _, H, W) -> (B, C, H, W)."""
    return rows.view(shape[0], shape[2], shape[3], rows.shape[2]).permute(0, 3, 1, 2)
