"""Every row of a batch is convolved as in any other batch, forwards and backwards, on one thread and on two."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.numerics import convolution
from ppgn.numerics.convolution import AlikeInAnyBatch

LAYERS = {
    "3x3": nn.Conv2d(48, 32, 3, padding=1),
    "3x3 strided": nn.Conv2d(48, 32, 3, stride=2, padding=1),
    "1x1": nn.Conv2d(48, 32, 1),
    "1x1 strided": nn.Conv2d(48, 32, 1, stride=2),
    "depthwise": nn.Conv2d(48, 48, 3, padding=1, groups=48),
    "5x5": nn.Conv2d(48, 32, 5, padding=2),
    "transposed": nn.ConvTranspose2d(48, 32, 3, padding=1),
    "transposed 1x1": nn.ConvTranspose2d(48, 32, 1),
    "1x1 without bias": nn.Conv2d(48, 32, 1, bias=False),
}

CURVES = [nn.Sigmoid(), nn.SiLU(inplace=True), nn.GELU("tanh"), nn.ELU(), nn.Softplus(), nn.Mish()]


def first_row(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first row of a layer's output, and of the gradient of a fixed sum of the outputs."""
    x = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_(True)
    out = layer(x)
    weights = torch.linspace(-1, 1, out[0].numel()).view(out[0].shape)
    (gradient,) = torch.autograd.grad((out * weights).sum(), x)
    return out.detach()[0], gradient[0]


def images(count: int) -> Tensor:
    return torch.randn(count, 48, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_is_the_same_in_any_batch(name: str, threads: int) -> None:
    layer = LAYERS[name].requires_grad_(False)
    x = images(40)
    with AlikeInAnyBatch():
        expected = first_row(layer, x[:2])
        for count in (1, 3, 8, 15, 16, 17, 40):
            for here, there in zip(first_row(layer, x[:count]), expected, strict=True):
                assert torch.equal(here, there), count


@pytest.mark.parametrize("layer", CURVES, ids=str)
@pytest.mark.parametrize("shape", [(5,), (23,), (24, 7, 7)], ids=str)
def test_a_curve_of_a_row_is_the_same_in_any_batch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(9, *shape, generator=torch.Generator().manual_seed(0))
    if len(shape) == 3:
        x = x.contiguous(memory_format=torch.channels_last)
    with AlikeInAnyBatch():
        given = x.clone().requires_grad_()
        whole = layer(given * 1)
        (slope,) = torch.autograd.grad(whole.square().sum(), given)
        for row in range(9):
            given = x[row : row + 1].clone().requires_grad_()
            alone = layer(given * 1)
            assert torch.equal(alone[0], whole[row])
            assert torch.equal(torch.autograd.grad(alone.square().sum(), given)[0][0], slope[row])
    torch.testing.assert_close(whole, layer(x.clone()))
    assert whole.stride() == x.stride()


def test_a_curve_in_place_changes_its_input() -> None:
    x = torch.randn(3, 5)
    expected = F.silu(x)
    with AlikeInAnyBatch():
        assert F.silu(x, inplace=True) is x
        assert torch.sigmoid(torch.tensor(0.0)) == 0.5
        assert torch.sigmoid(torch.empty(0, 5)).shape == (0, 5)
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_same_convolution(name: str) -> None:
    layer = LAYERS[name].double().requires_grad_(False)
    x = images(17).double()
    for count in (1, 17):
        with AlikeInAnyBatch():
            out = layer(x[:count])
        torch.testing.assert_close(out, layer(x[:count]), rtol=0, atol=1e-12)
    layer.float()


def test_weights_that_change_are_laid_out_anew() -> None:
    layer = nn.Conv2d(48, 32, 3, padding=1).requires_grad_(False)
    x = images(3)
    for change in (lambda w: w, lambda w: w.mul_(2), lambda w: w.copy_(torch.randn_like(w))):
        change(layer.weight)
        plain = first_row(layer, x)
        with AlikeInAnyBatch():
            for here, there in zip(first_row(layer, x), plain, strict=True):
                torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    place = id(layer.weight)
    assert place in convolution._KEPT
    del layer
    gc.collect()
    assert place not in convolution._KEPT


@pytest.mark.parametrize("padding", [0, 2, (0, 1), "same", 3])
def test_padding_of_any_kind(padding: Any) -> None:
    weight = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    expected = F.conv2d(x, weight, None, 1, padding)
    with AlikeInAnyBatch():
        found = F.conv2d(x, weight, None, 1, padding)
    torch.testing.assert_close(found, expected)
    of_found, of_expected = (torch.autograd.grad(one.square().sum(), x)[0] for one in (found, expected))
    torch.testing.assert_close(of_found, of_expected, atol=1e-4, rtol=1e-4)


def test_a_gradient_can_be_differentiated() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 1)).requires_grad_(False)
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def twice() -> Tensor:
        (gradient,) = torch.autograd.grad(layers(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    expected = twice()
    with AlikeInAnyBatch():
        torch.testing.assert_close(twice(), expected, atol=1e-3, rtol=1e-4)


def test_settings_by_name_are_understood() -> None:
    x, weight = images(20), torch.randn(48, 1, 3, 3)
    expected = F.conv2d(x, weight, None, 2, 1, 1, 48)
    with AlikeInAnyBatch():
        alone = F.conv2d(x[:1], weight, stride=2, padding=1, groups=48)
    torch.testing.assert_close(alone, expected[:1])


@pytest.mark.parametrize("layer", [nn.Conv2d(128, 64, 1), nn.GroupNorm(8, 128)], ids=["1x1", "group norm"])
def test_a_small_lone_image_may_lie_in_memory_as_it_likes(layer: nn.Module, threads: int) -> None:
    if threads == 1 and isinstance(layer, nn.GroupNorm):
        pytest.skip("on one thread pictures stay as they were")
    layer = layer.requires_grad_(False)
    x = torch.randn(5, 128, 4, 4, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    with AlikeInAnyBatch():
        whole = layer(x)
        assert torch.equal(layer(x[:1].contiguous()), whole[:1])
        assert all(torch.equal(layer(x[:count]), whole[:count]) for count in (1, 2, 3))
