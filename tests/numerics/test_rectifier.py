"""ReLU6 in place: PyTorch's numbers and gradients, nothing spoilt that somebody else reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppgn.networks.network import Network, Preprocessing
from ppgn.numerics.rectifier import ReLU6, in_place

VALUES = torch.tensor([-1.0, 0, 3, 6, 7, torch.nan])


def test_numbers_and_gradients_are_those_of_pytorch() -> None:
    found = []
    for rectifier in (nn.ReLU6(), ReLU6(inplace=True)):
        x = VALUES.clone().requires_grad_(True)
        out = rectifier(x * 1)
        (gradient,) = torch.autograd.grad((out * torch.arange(6.0)).sum(), x)
        found.append((out.detach(), gradient, rectifier(VALUES.clone())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_it_keeps_no_copy_of_what_went_in() -> None:
    before = VALUES.clone().requires_grad_(True) * 1
    place = before.data_ptr()
    after = ReLU6(inplace=True)(before)
    assert after.data_ptr() == place
    saved = [getattr(after.grad_fn, name) for name in dir(after.grad_fn) if name == "saved_tensors"]
    assert [one.data_ptr() for group in saved for one in group] == [place]


def test_what_somebody_else_reads_stays() -> None:
    leaf = VALUES.clone().requires_grad_(True)
    ReLU6(inplace=True)(leaf)
    torch.testing.assert_close(leaf.detach(), VALUES, equal_nan=True)
    squared = (leaf * 1).square()  # of which the gradient needs nothing that comes out
    (2 * ReLU6(inplace=True)(squared)).sum().backward()
    root = (leaf * 1).sigmoid()  # of which it does
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ReLU6(inplace=True)(root).sum().backward()


def test_a_network_takes_it_where_its_author_works_in_place() -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU6(inplace=True), nn.Conv2d(4, 4, 1), nn.ReLU6(), nn.Hardtanh(0, 6, True)
    )
    network = Network(body, Preprocessing(8), name="small")
    assert [type(module) for module in network.body][1::2] == [ReLU6, nn.ReLU6]
    assert not network.body[4].inplace
    assert type(body[1]) is nn.ReLU6  # what was given stays as it is
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    layers = ["0", "1", "3"]
    for name, value in network.features(x, layers).items():
        expected = body[: int(name) + 1](network.preprocessing(x))
        torch.testing.assert_close(value, expected)
        (gradient,) = torch.autograd.grad(value.square().sum(), x, retain_graph=True)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0])


def test_views_in_a_graph_are_left_alone() -> None:
    x = torch.randn(2, 6, requires_grad=True)
    whole = x * 3
    before = whole.detach().clone()
    out = in_place(nn.Sequential(nn.ReLU6(inplace=True)))(whole[:1])
    assert torch.equal(whole.detach(), before)
    torch.testing.assert_close(out, before[:1].clamp(0, 6))
