"""Samples of units, judged by what photographs do to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ppgn import evaluation
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.evaluation.units import activations, percentiles, pick
from ppgn.networks.network import Network, Preprocessing
from tests.evaluation.conftest import grey


class Channels(nn.Module):
    """Two layers whose units are multiples of the mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 16, bias=False)
        self.second = nn.Conv2d(2, 3, 1, bias=False)
        self.first.weight.data = torch.tensor([[1.0, 0, 0], [0, -1.0, 0]]).view(2, 3, 1, 1).expand(2, 3, 16, 16) / 256
        self.second.weight.data = torch.tensor([[1.0, 0], [0, 2.0], [1, 1]]).view(3, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)).flatten(1)
        return out


def of_units(*wanted: tuple[str, int]) -> Sequence[Unit]:
    network = Network(Channels(), Preprocessing(size=16), name="small")
    return [Unit(network, layer, number) for layer, number in wanted]


def test_activations_of_units_in_several_layers() -> None:
    pictures = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    pictures[1, 0], pictures[2, 1] = 51, 102
    found = activations(of_units(("second", 1), ("first", 0), ("second", 2)), pictures, batch_size=2)
    expected = torch.tensor([[0, 0, 0], [0, 0.2, 0.2], [-0.8, 0, -0.4]]).double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_units_are_judged_by_the_percentiles_of_photographs() -> None:
    real = grey(*range(0, 202, 2))  # activations of first 0: 0 to 200 / 255, the 99th percentile at 198
    judge = percentiles(of_units(("first", 0), ("first", 1)), real)
    found = judge(grey(199, 198, 60), torch.tensor([0, 1, 1]))
    assert found["above"].tolist() == [1, 0, 0]  # the second unit likes it dark
    spread = float(torch.arange(0.0, 202, 2).std())
    assert found["sd"].tolist() == pytest.approx([99 / spread, -98 / spread, 40 / spread], rel=1e-4)


def test_units_are_picked_evenly_and_never_twice() -> None:
    picked = pick({"a": 3, "b": 100}, 5)
    assert [layer for layer, _ in picked] == ["a"] * 3 + ["b"] * 2
    assert sorted(number for layer, number in picked if layer == "a") == [0, 1, 2]
    assert picked == pick({"a": 3, "b": 100}, 5)
    with pytest.raises(InputError, match="'a' has 3 units"):
        pick({"a": 3, "b": 100}, 8)


def test_the_command_line_gives_the_same(check_same: Callable[..., None], tiny: Path) -> None:
    condition = {"_target_": "ppgn.conditions.unit.Unit", "network": {"_target_": "ppgn.networks.imagenet.load"}}
    condition["network"] |= {"name": "efficientnet_lite1", "size": 32}  # type: ignore[operator]
    typed = ["condition.network.size=32", "layers=[blocks.0,blocks.1]", "count=3", "n=4", "data=photos", "steps=2"]
    given = {"condition": condition, "layers": ["blocks.0", "blocks.1"], "count": 3, "n": 4, "data": "photos"}
    check_same(evaluation.units, typed, steps=2, **given)
    table = evaluation.units(tiny / "model.safetensors", steps=2, device="cpu", **given)
    assert list(table.rows) == ["samples", "pixels", "white_noise", "photographs"]
    layers = [row["target"].split()[0] for row in table.facts["samples"]["pictures"]]
    assert layers == ["blocks.0", "blocks.0", "blocks.1"]
    assert [row["seed"] for row in table.facts["samples"]["pictures"]] == [0, 1, 2]
