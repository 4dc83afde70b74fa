"""A layer is edited while it is asked for and no longer, and an effect has an interval."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.scene import Scene, causal, insertion, interval, spots_of, without
from ppgn.visualize.segmentation import Segmenter


class Painter(nn.Module):
    """Three units: the first paints red, the second green, the third nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.paint = nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        values = self.paint(h)
        return nn.functional.interpolate(torch.cat([values[:, :2], 0 * values[:, :1]], dim=1), scale_factor=2.0)


@pytest.fixture
def scene() -> Scene:
    """The segmenter says red, green or, where neither is above a half, nothing."""
    network = Network(nn.Sequential(nn.Identity(), nn.Flatten()), Preprocessing(8), name="net")
    weight, bias = 20 * torch.eye(3), torch.tensor([0.0, 0, 10])
    return Scene(Painter(), "paint", Segmenter(network, ("0",), weight, bias, 8))


CODES = torch.zeros(6, 3, 4, 4)
CODES[:, 0, :2], CODES[:, 1, 2:], CODES[:, 2] = 1, 1, 1


def test_units_are_taken_out_only_while_asked_for(scene: Scene) -> None:
    before = scene.cells(CODES)
    assert before.tolist() == [[32, 32, 0]] * 6
    assert scene.cells(CODES, without([0], 3)).tolist() == [[0, 32, 32]] * 6
    assert torch.equal(scene.cells(CODES), before)
    values, labels = scene.read(CODES)
    assert torch.equal(values, CODES)
    assert (labels[:, :4] == 0).all()


def test_the_unit_that_causes_a_concept_is_found(scene: Scene) -> None:
    _, labels = scene.read(CODES)
    alpha = causal(scene, CODES, labels, 0, torch.tensor([0.2, 0.2, 0.2]), torch.ones(3), epochs=60, seed=0)
    assert alpha[0] > 0.8
    assert alpha[2] < 0.2
    with pytest.raises(InputError, match="no drawing"):
        causal(scene, CODES, labels, 2, torch.ones(3), torch.ones(3), epochs=1, seed=0)


def test_what_is_put_in_stands_at_one_place(scene: Scene) -> None:
    placed: list[Tensor] = []

    def spots(values: Tensor) -> Tensor:
        return spots_of(values, torch.Generator().manual_seed(0))

    put = insertion(torch.tensor([1.0, 0, 0]), torch.tensor([5.0, 0, 0]), spots, placed)
    edited = put(torch.zeros(6, 3, 4, 4))
    assert (placed[0].flatten(1).sum(1) == 1).all()
    assert torch.equal(edited[:, :1], 5 * placed[0])
    assert edited[:, 1:].abs().sum() == 0


def test_the_interval_holds_the_difference() -> None:
    before = torch.full((200,), 10.0)
    ours = 4 + torch.rand(200, generator=torch.Generator().manual_seed(0))
    low, high = interval(before, ours, torch.full((200,), 9.0))
    assert low < float((9 - ours.mean()) / 10) < high
    assert high - low < 0.02


def test_refuses_a_layer_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(InputError, match="paint"):
        Scene(Painter(), "pint", scene.segmenter)
