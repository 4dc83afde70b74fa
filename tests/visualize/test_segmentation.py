"""The probe learns what a linear map of the features can say, and is measured on pictures that it has not seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.concepts import Concepts
from ppgn.visualize.segmentation import commonest, fit, reduced

SIDE = 8


def planted(count: int = 60) -> Concepts:
    """Pictures of red, green and blue cells, which are concepts 2, 0 and 1; green is commonest, blue rarest."""
    draw = torch.Generator().manual_seed(0)
    cells = torch.tensor([0, 0, 1, 1, 1, 2])[torch.randint(0, 6, (count, SIDE, SIDE), generator=draw)]
    colours = nn.functional.one_hot(cells, 3).permute(0, 3, 1, 2) * 200
    pictures = colours.repeat_interleave(2, 2).repeat_interleave(2, 3)
    pictures = (pictures + torch.randint(0, 40, pictures.shape, generator=draw)).to(torch.uint8)
    labels = torch.full((count, 3, SIDE, SIDE), -1, dtype=torch.int16)
    labels[:, 0] = torch.tensor([2, 0, 1])[cells]
    labels[:, 0, 0, 0] = -1
    return Concepts("made", pictures, labels, ["g", "b", "r", "none"], ["object"] * 4, torch.zeros(count))


def network() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return Network(body, Preprocessing(16), name="net")


def test_learns_what_is_there() -> None:
    pack = planted()
    wanted = commonest(pack, 3)
    assert wanted == [0, 2, 1]
    probe, quality, held = fit(network(), pack, wanted, ("0", "1"), pixels=16)
    assert len(held) == 30
    assert (quality > 0.9).all()
    logits = probe(reduced(pack.pictures[held], 16))
    assert logits.shape == (30, 3, SIDE, SIDE)
    known = pack.labels[held, 0] >= 0
    truth = torch.tensor([0, 2, 1])[pack.labels[held, 0].long()]
    assert (logits.argmax(1) == truth)[known].float().mean() > 0.95


def test_is_differentiable_and_the_same_as_one_convolution_of_the_enlarged_features() -> None:
    pack, net = planted(20), network()
    probe, _, _ = fit(net, pack, [0, 1], ("0", "1"), pixels=16)
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(probe(x).sum(), x)
    assert slope.abs().sum() > 0
    enlarged: list[Tensor] = [
        nn.functional.interpolate(values, (SIDE, SIDE), mode="bilinear")
        for values in net.features(x, ("0", "1")).values()
    ]
    expected = torch.einsum("bdhw,cd->bchw", torch.cat(enlarged, dim=1), probe.weight) + probe.bias[:, None, None]
    assert torch.allclose(probe(x), expected, atol=1e-4)


def test_refuses_more_concepts_than_there_are() -> None:
    with pytest.raises(InputError, match="3 objects"):
        commonest(planted(5), 4)
