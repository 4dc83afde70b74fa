"""Linear maps that round a row alike in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppgn.numerics.linear import Linear, alike, linear


def test_is_the_same_map_with_the_same_gradient() -> None:
    for count in (0, 1, 3, 8, 11):
        x = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
        layer = Linear(5, 2).double().requires_grad_(False)
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
        assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("terms", "outputs"), [(512, 300), (5, 7), (17, 3), (74, 11)])
def test_a_row_is_rounded_alike_in_any_batch_and_place(terms: int, outputs: int, dtype: torch.dtype) -> None:
    x, weight = torch.randn(40, terms, dtype=dtype), torch.randn(outputs, terms, dtype=dtype)
    whole = linear(x, weight)
    for count in range(40):
        assert torch.equal(linear(x[:count], weight), whole[:count]), count
        assert torch.equal(linear(x[count:], weight), whole[count:]), count


def test_weights_in_training_are_multiplied_at_once() -> None:
    x, layer = torch.randn(11, 512), Linear(512, 300)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_other_shapes_pass_through() -> None:
    x, weight = torch.randn(2, 3, 5), torch.randn(4, 5)
    assert torch.equal(linear(x, weight), nn.functional.linear(x, weight))


def test_rows_of_several_vectors_do_not_depend_on_how_many_there_are() -> None:
    torch.manual_seed(0)
    network = alike(nn.Sequential(nn.Linear(96, 33))).requires_grad_(False)
    x = torch.randn(5, 7, 96)
    for rows in (1, 2, 5):
        assert torch.equal(network(x[:rows]), network(x)[:rows])
