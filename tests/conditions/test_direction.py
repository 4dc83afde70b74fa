"""Directions and latents by hand, at places of channels and of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.conditions.direction import Direction, Latent
from ppgn.conditions.probe import probe
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.networks import own
from ppgn.networks.network import Network
from ppgn.networks.sae import SparseEncoder


class Tokens(nn.Module):
    """A class token, constant, in front of 4x4 patches of which each is (r, g, b, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        patches = torch.cat([x, torch.ones_like(x[:, :1])], 1).flatten(2).mT
        return torch.cat([0.5 * patches.mean(1, keepdim=True), patches], 1)


@pytest.fixture
def network() -> Network:
    body = nn.Sequential()
    body.add_module("tokens", Tokens())
    body.add_module("head", nn.Sequential(nn.Flatten(), nn.Linear(17 * 4, 3)))
    return own.load(body, size=4)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


def tokens(x: Tensor) -> Tensor:
    return Tokens()(x)


V = torch.tensor([3.0, 0.0, -4.0, 0.0])


@pytest.mark.parametrize(
    ("position", "at"),
    [
        ("class", lambda t: t[:, 0]),
        (0, lambda t: t[:, 0]),
        (6, lambda t: t[:, 6]),
        ([1, 2], lambda t: t[:, 1 + 4 + 2]),
        ("center", lambda t: t[:, 1 + 8 + 2]),
        ("mean", lambda t: t[:, 1:].mean(1)),
    ],
)
def test_a_projection_at_any_token(network: Network, x: Tensor, position: Any, at: Any) -> None:
    condition = Direction(network, "tokens", V, position=position)
    torch.testing.assert_close(condition(x), at(tokens(x)) @ V / 5)
    torch.testing.assert_close((~condition)(x), -condition(x))
    torch.testing.assert_close(Unit(network, "tokens", 1, position).activations(x), at(tokens(x)))
    probe(condition, (3, 4, 4))


def test_the_best_place_and_the_cosine(network: Network, x: Tensor) -> None:
    values = tokens(x)[:, 1:]
    best = Direction(network, "tokens", V, position="max", score="cosine", concentration=10)
    torch.testing.assert_close(best(x), 10 * F.cosine_similarity(values, V, dim=2).amax(1))


def test_a_direction_in_every_form(network: Network, x: Tensor, tmp_path: Path) -> None:
    save_file({"v": V}, tmp_path / "v.safetensors")
    np.save(tmp_path / "v.npy", V.numpy())
    expected = Direction(network, "tokens", V)(x)
    forms = ({0: 3.0, 2: -4.0}, "0:3,2:-4", [3.0, 0.0, -4.0, 0.0], tmp_path / "v.safetensors", str(tmp_path / "v.npy"))
    for form in (*forms, torch.stack([V, V])):
        torch.testing.assert_close(Direction(network, "tokens", form)(x), expected)  # type: ignore[arg-type]
    several = Direction(network, "tokens", torch.stack([V, -V]), target=1)
    torch.testing.assert_close(several(x), -expected)
    torch.testing.assert_close(several.with_target(0)(x), expected)


def test_a_difference_of_logits(network: Network, x: Tensor) -> None:
    logits = network(x)
    difference = Direction(network, "head", "0:1,2:-1")
    torch.testing.assert_close(difference(x) * 2**0.5, logits[:, 0] - logits[:, 2])


def test_a_latent_tells_its_activation(network: Network, x: Tensor) -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    encoder = SparseEncoder(weight, bias=torch.tensor([-0.1, 0.0]))
    on, off = (Latent(network, "tokens", encoder, target, position=[0, 0]) for target in (0, 1))
    torch.testing.assert_close(on(x), x[:, 0, 0, 0] - 0.1)
    torch.testing.assert_close(off(x), -x[:, 1, 0, 0])
    assert torch.autograd.grad(off(x).sum(), x)[0].abs().sum() > 0  # a way up, though it is off
    assert [row["activation"] for row in off.describe(x)] == [0.0, 0.0]
    assert on.describe(x)[0]["activation"] == pytest.approx(max(0.0, x[0, 0, 0, 0].item() - 0.1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": torch.ones(5)}, "5 numbers on a layer of 4 units"),
        ({"direction": torch.zeros(4)}, "not all 0"),
        ({"direction": "7:1"}, "unit 7 of a layer of 4 units"),
        ({"direction": "1:a"}, "expected UNIT:WEIGHT"),
        ({"direction": "none.npy"}, "no such file"),
        ({"direction": "none.safetensors"}, "no such file"),
        ({"score": "dot"}, "unknown score 'dot'"),
        ({"target": 1}, "unit '1'"),
        ({"position": 17}, "token from 0 to 16"),
        ({"position": [4, 0]}, "outside"),
        ({"layer": "head", "direction": torch.ones(4)}, "layer of 3 units"),
    ],
)
def test_refuses(network: Network, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Direction(network, **{"layer": "tokens", "direction": V} | given)
