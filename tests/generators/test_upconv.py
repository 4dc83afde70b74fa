"""The up-convolutional decoder: shapes of maps and of features without places, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from ppgn.errors import InputError
from ppgn.generators.upconv import UpConv


@pytest.mark.parametrize(("code", "doublings"), [([5, 4, 4], 3), ([5, 6, 6], 2), ([5, 32, 32], 0), ([7], 3)])
def test_features_become_images_by_doublings(code: Sequence[int], doublings: int) -> None:
    torch.manual_seed(0)
    decoder = UpConv(code, size=32, width=8)
    h = torch.randn(2, *decoder.code_shape, requires_grad=True)
    x = decoder(h)
    assert x.shape == (2, *decoder.signal_shape) == (2, 3, 32, 32)
    assert x.min() > 0
    assert x.max() < 1
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in decoder.modules()) == doublings
    (slope,) = torch.autograd.grad(x[0].sum(), h)
    assert slope[0].abs().min() > 0
    assert slope[1].abs().max() == 0  # a row does not see its neighbours


def test_places_of_maps_are_places_of_images() -> None:
    torch.manual_seed(0)
    decoder, h = UpConv([3, 8, 8], size=32, width=8), torch.randn(1, 3, 8, 8)
    other = h.clone()
    other[..., 0, 0] += 1
    change = (decoder(h.flatten(1)) - decoder(other.flatten(1))).abs().amax((0, 1))
    assert change[:4, :4].max() > 0
    assert change[16:].max() == change[:, 16:].max() == 0


@pytest.mark.parametrize("code", [[3, 4], [3, 64, 64], [0, 4, 4], []])
def test_refuses_other_shapes(code: Sequence[int]) -> None:
    with pytest.raises(InputError, match="expected"):
        UpConv(code, size=32)
