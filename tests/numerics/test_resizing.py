"""Resizing by matrices is that of PyTorch, a row alike in any batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ppgn.numerics.resizing import LARGEST, resize


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width", "side"), [(16, 16, 40), (33, 20, 12), (9, 40, 24), (LARGEST + 1, 8, 16)])
@pytest.mark.parametrize("antialias", [False, True])
def test_is_that_of_pytorch(mode: str, height: int, width: int, side: int, antialias: bool, threads: int) -> None:
    x = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_(True)
    found, expected = resize(x, side, mode, antialias), F.interpolate(x, (side, side), mode=mode, antialias=antialias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(one.square().sum(), x)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)


def test_a_row_is_the_same_in_any_batch(threads: int) -> None:
    x = torch.randn(17, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    found = []
    for count in (1, 2, 8, 17):
        part = x[:count].clone().requires_grad_(True)
        out = resize(part, 160, "bicubic", False)
        found.append((out.detach()[0], torch.autograd.grad(out.square().sum(), part)[0][0]))
    for out, gradient in found[1:]:
        assert torch.equal(out, found[0][0])
        assert torch.equal(gradient, found[0][1])


def test_none_stay_none(threads: int) -> None:
    assert resize(torch.empty(0, 3, 8, 8), 16, "bicubic", False).shape == (0, 3, 16, 16)
