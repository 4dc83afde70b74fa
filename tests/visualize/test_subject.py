"""A subject is a class or a unit of any layer of any network, and says its activation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ppgn.errors import InputError
from ppgn.networks import own
from ppgn.networks.network import Network
from ppgn.visualize.subject import subject, units


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    return own.load(body, 32, labels=["sky", "grass", "sand"])


X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_class_is_its_logit(net: Network) -> None:
    grass = subject("grass", network=net)
    assert torch.equal(grass(X), net(X)[:, 1])
    assert grass.name.endswith("grass")
    assert torch.allclose(grass.condition(X), net(X).log_softmax(1)[:, 1])


@pytest.mark.parametrize("position", ["center", "mean", "max", [0, 3]])
def test_a_unit_is_its_activation_at_a_position(net: Network, position: Any) -> None:
    maps = net.features(X, ["0"])["0"][:, 4]
    expected = {"center": maps[:, 4, 4], "mean": maps.mean((1, 2)), "max": maps.amax((1, 2))}
    found = subject(4, network=net, layer="0", position=position)
    assert torch.allclose(found(X), expected[position] if isinstance(position, str) else maps[:, 0, 3])
    assert found.name == "Sequential 0 unit 4"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unit": 0, "layer": "conv9"}, "conv9"),
        ({"unit": 6, "layer": "0"}, "0 to 5"),
        ({"unit": "gras"}, "grass"),
        ({"unit": None}, "unit"),
        ({"unit": [1, 2]}, "one unit at a time"),
        ({"unit": 1, "position": "mean"}, "layer"),
        ({"unit": 1, "layer": "4", "position": [0, 0]}, "no positions"),
        ({"unit": 1, "layer": "0", "position": [0, 8]}, "outside"),
    ],
)
def test_refuses_in_words(net: Network, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        subject(**given, network=net)


def test_a_network_with_random_weights_is_named() -> None:
    found = subject(5, network="torchvision/resnet18", size=32, weights=None, layer="layer2", position="mean")
    assert found(X).shape == (2,)
    assert found.name == "torchvision/resnet18 layer2 unit 5"


@pytest.mark.parametrize("rectifier", [nn.ReLU(), nn.ReLU6()])
def test_a_shut_unit_has_a_gradient_and_is_what_it_was(rectifier: nn.Module) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3, 4), rectifier), nn.Flatten(), nn.Linear(384, 3))
    nn.init.constant_(body[0][0].bias, -5)
    network = own.load(body, 32)
    shut = subject(4, network=network, layer="0")
    x = X.clone().requires_grad_()
    assert shut(x).tolist() == [0, 0]
    (slope,) = torch.autograd.grad(shut(x).sum(), x)
    assert slope.abs().max() > 0
    assert torch.allclose(shut.condition.network(X), network.features(X, ["0"])["0"][:, :, 4, 4])
    assert subject(4, network=network, layer="0.0").condition.network.body.network is network


def test_what_is_beyond_a_ceiling_is_told_apart_on_the_scale_of_every_method() -> None:
    block = nn.Sequential(nn.Conv2d(3, 6, 3, 4), nn.ReLU6())
    nn.init.constant_(block[0].weight, 2.0)
    network = own.load(nn.Sequential(block, nn.Flatten(), nn.Linear(384, 3)), 32)
    found = subject(4, network=network, layer="0")
    assert network.features(X, ["0"])["0"][:, 4, 4, 4].tolist() == [6, 6]
    assert found(X)[1] > found(X)[0] > 20
    (elsewhere,) = units(network, "0", 4, "center", torch.device("cpu"))  # of patches, cards and evaluations
    assert torch.equal(found(X), elsewhere(X))
    assert found.scale == "the layer's value at center, without the ceiling of a rectifier that ends it"
    assert subject(1, network=network).scale == "the logit of the class"
