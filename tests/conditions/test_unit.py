"""A unit's value and gradient by hand: a layer of two channels, each a known multiple of its place's colour."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.rows import EachRow
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.samplers.annealed import Annealed
from tests.tiny import TinyCondition, TinyGenerator


class Body(nn.Module):
    """A 1x1 convolution to three channels, r, 2g and r + b; then the mean over places and a map to five numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.fc = nn.Linear(3, 5, bias=False)
        self.odd = nn.Unflatten(1, (5, 1, 1, 1))
        weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 1.0]])
        self.conv.weight.data = weight.view(3, 3, 1, 1)
        self.fc.weight.data = torch.arange(15.0).view(5, 3) / 10

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.odd(self.fc(self.conv(x).mean((2, 3)))).flatten(1)
        return out


def unit(target: Any = 1, layer: str = "conv", **settings: Any) -> Unit:
    network = Network(Body(), Preprocessing(size=4), name="small")
    return Unit(network, layer, target, **settings).double()


@pytest.fixture
def x() -> Tensor:
    drawn = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.requires_grad_()


def channels(x: Tensor) -> Tensor:
    r, g, b = x.unbind(1)
    return torch.stack([r, 2 * g, r + b], dim=1)


def test_is_the_log_softmax_over_channels_at_the_position(x: Tensor) -> None:
    values = channels(x).detach()
    for position, there in (
        ("center", values[:, :, 2, 2]),
        ([0, 3], values[:, :, 0, 3]),
        ("mean", values.mean((2, 3))),
    ):
        expected = [row[1] - math.log(sum(map(math.exp, row))) for row in there.tolist()]
        assert unit(position=position)(x).tolist() == pytest.approx(expected, abs=1e-12)


def test_the_gradient_reaches_the_position_alone(x: Tensor) -> None:
    p = channels(x).detach()[:, :, 0, 3].softmax(1)
    (full,) = torch.autograd.grad(unit(position=[0, 3])(x).sum(), x)
    expected = torch.zeros_like(full)
    expected[:, :, 0, 3] = torch.stack([-p[:, 0] - p[:, 2], 2 * (1 - p[:, 1]), -p[:, 2]], dim=1)
    torch.testing.assert_close(full, expected)
    (truncated,) = torch.autograd.grad(unit(position=[0, 3], gradient="truncated")(x).sum(), x)
    expected[:, [0, 2]] = 0  # as released: 1 - p at the unit, nothing elsewhere
    torch.testing.assert_close(truncated, expected)


def test_a_fully_connected_unit(x: Tensor) -> None:
    values = channels(x).detach().mean((2, 3)) @ (torch.arange(15.0).view(5, 3) / 10).double().T
    torch.testing.assert_close(unit(4, "fc")(x), values.log_softmax(1)[:, 4])


def test_activation_is_the_bare_value_and_its_complement_the_negative(x: Tensor) -> None:
    condition = unit(2, score="activation")
    torch.testing.assert_close(condition(x), channels(x)[:, 2, 2, 2])
    torch.testing.assert_close((~condition)(x), -channels(x)[:, 2, 2, 2])


def test_describes_probability_and_activation(x: Tensor) -> None:
    at = channels(x).detach()[:, :, 2, 2]
    for score in ("softmax", "activation"):
        first, second = unit(1, score=score).describe(x)
        assert first["prob"] == pytest.approx(at[0].softmax(0)[1].item())
        assert (first["activation"], second["activation"]) == pytest.approx(tuple(at[:, 1].tolist()))
        assert {name for name, _ in first["top5"]} == {"0", "1", "2"}
        assert json.loads(json.dumps(second))["log_prob"] == second["log_prob"]


def test_another_target_asks_alike(x: Tensor) -> None:
    condition = unit(1, position=[3, 1], score="activation", gradient="truncated")
    other = condition.with_target("2")
    torch.testing.assert_close(other(x), channels(x)[:, 2, 3, 1])
    assert (other.score, other.gradient) == ("activation", "truncated")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": 3}, "unit '3' .* from 0 to 2"),
        ({"target": "dog"}, "unit 'dog' .* from 0 to 2"),
        ({"target": -1}, "unit '-1'"),
        ({"layer": "cnv"}, "unknown layer of small 'cnv'; nearest: conv"),
        ({"layer": "odd"}, r"layer 'odd' of small gives \(5, 1, 1, 1\) for an image; expected \(C, H, W\), \(T, D\)"),
        ({"position": [4, 0]}, r"position \[4,0\] is outside layer 'conv' of small; .*from \[0,0\] to \[3,3\]"),
        ({"position": [1]}, r"position \[1\] of a unit: expected center, mean, max, class, "),
        ({"position": [0.5, 1]}, r"position \[0.5, 1\] of a unit: expected center"),
        ({"position": "middle"}, r"position middle of a unit: expected center, mean, max, class, "),
        ({"score": "logit"}, "unknown score 'logit'"),
    ],
)
def test_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit(**given)


def test_tells_its_layer_and_what_all_of_its_units_give(x: Tensor) -> None:
    one = unit(target=2, position="mean")
    assert one.layer == one.with_target(0).layer == "conv"
    torch.testing.assert_close(one.activations(x), channels(x).mean((2, 3)))


def test_a_unit_at_one_position_is_seen_without_random_views() -> None:
    """Views move and magnify what it sees; it would learn to please wherever they look."""
    model, transform = PPGN(TinyGenerator()), Annealed().transform
    assert transform is not None
    placed, anywhere = unit(), unit(position="mean")
    for condition, seen in (
        (placed, None),
        (unit(position=[0, 1]), None),
        (anywhere & placed, None),
        (EachRow(anywhere, placed), None),
        (anywhere, transform),
        (unit(layer="fc"), transform),
        (TinyCondition(0), transform),
    ):
        assert model.posterior(condition, transform=transform).transform is seen
