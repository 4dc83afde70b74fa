"""A receptive field is as large as the network's arithmetic says, and wherever the place is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize import receptive_field
from ppgn.visualize.receptive_field import Box, of, theoretical


def network(*layers: nn.Module, side: int = 32) -> Network:
    torch.manual_seed(0)
    return Network(nn.Sequential(*layers), Preprocessing(side), name="net")


CONVS = (nn.Conv2d(3, 4, 3, padding=1), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU())


def test_the_theoretical_field_is_that_of_the_arithmetic() -> None:
    # 3x3, 2x2 at stride 2, 3x3 at stride 2 see 3 + 1 + 4 = 8 pixels; place 8 of 16 begins at 2 (8 - 1) - 1
    field = theoretical(network(*CONVS), "4")
    assert (field.grid.height, field.side, field.effective) == (16, 32, False)
    assert field.box == Box(13, 13, 21, 21)
    assert field.at(0) == Box(-3, -3, 5, 5)
    assert field.at(15) == Box(-3, 27, 5, 35)
    assert theoretical(network(*CONVS), "0").box == Box(15, 15, 18, 18)


def test_a_box_is_moved_inside_and_no_larger_than_the_image() -> None:
    assert Box(-3, 27, 5, 35).inside(32, 32) == Box(0, 24, 8, 32)
    assert Box(2, 3, 10, 11).inside(32, 32) == Box(2, 3, 10, 11)
    assert Box(-4, -4, 36, 4).inside(32, 32) == Box(0, 0, 32, 8)
    assert Box(20, 20, 70, 70).inside(32, 32) == Box(0, 0, 32, 32)


def test_weights_of_zero_see_as_much() -> None:
    empty = network(*CONVS)
    for weight in empty.body.parameters():
        weight.zero_()
    assert theoretical(empty, "4").box == Box(13, 13, 21, 21)


def test_a_layer_without_places_sees_the_image() -> None:
    field = theoretical(network(*CONVS, nn.AdaptiveAvgPool2d(1), nn.Flatten()), "6")
    assert field.box == field.at(3) == Box(0, 0, 32, 32)


def test_a_global_unit_is_narrowed_to_where_its_gradient_is() -> None:
    class Gate(nn.Module):
        """Sees everything a little, as squeeze-and-excitation does."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (1 + 1e-3 * x.mean((2, 3), keepdim=True))

    net = network(nn.Conv2d(3, 2, 3, padding=1), Gate())
    assert theoretical(net, "1").box == Box(0, 0, 32, 32)
    images, places = torch.rand(4, 3, 32, 32), torch.tensor([0, 5 * 32 + 7, 500, 700])
    field = of(net, "1", 1, images, places)
    assert field.effective
    assert 3 <= field.box.bottom - field.box.top <= 6
    assert of(network(*CONVS), "4", 1, images, places).effective is False


def test_what_lies_beyond_the_image_is_grey() -> None:
    image = torch.rand(1, 3, 8, 8)
    part = Box(-2, 5, 3, 10).crop(image)
    assert part.shape == (1, 3, 5, 5)
    assert torch.equal(part[:, :, 2:, :3], image[:, :, :3, 5:])
    assert (part[:, :, :2] == 0.5).all()
    assert (part[:, :, :, 3:] == 0.5).all()


def test_refuses_a_layer_of_another_shape() -> None:
    class Deep(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, None, :, :]

    with pytest.raises(InputError, match="expected"):
        receptive_field.grid(network(Deep()), "0")
