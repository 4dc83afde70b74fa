"""Resizing as products of matrices: much faster than PyTorch's own kernels on a CPU, backwards too."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST = 256  # pixels a side; of larger images PyTorch's own kernels, which skip zeros, are as fast


def resize(x: Tensor, side: int, mode: str, antialias: bool) -> Tensor:
    """Images (B, C, H, W) -> (B, C, side, side) as `F.interpolate` has them, up to rounding, alike in any batch.

    mode: "bicubic" or "bilinear".
    """
    if max(*x.shape[-2:], side) > LARGEST or x.device.type != "cpu":
        return F.interpolate(x, (side, side), mode=mode, antialias=antialias)
    rows, columns = (_matrix(size, side, mode, antialias, x.dtype) for size in x.shape[-2:])
    if torch.get_num_threads() > 1 and len(x):  # then a product of several matrices depends on how many there are
        return torch.cat([_product(image, rows, columns) for image in x.split(1)])
    return _product(x, rows, columns)


def _product(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    planes = x.flatten(0, 1)
    count = len(planes)
    found = torch.bmm(torch.bmm(rows.expand(count, -1, -1), planes), columns.t().expand(count, -1, -1))
    return found.view(*x.shape[:2], *found.shape[1:])


@lru_cache(maxsize=64)
@torch.inference_mode(False)
@torch.no_grad()
def _matrix(size: int, side: int, mode: str, antialias: bool, dtype: torch.dtype) -> Tensor:
    """What PyTorch makes of `size` pixels in a line: (side, size)."""
    pixels = torch.eye(size, dtype=dtype)[None, None]
    return F.interpolate(pixels, (side, size), mode=mode, antialias=antialias)[0, 0].contiguous()
