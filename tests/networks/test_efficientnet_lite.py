"""The networks that come along are those that timm builds, number for number, and a digest knows them as such."""

from __future__ import annotations

import pytest
import timm
import torch

import ppgn
from ppgn import anchors
from ppgn.networks import efficientnet_lite, imagenet


@pytest.mark.parametrize("name", efficientnet_lite.SCALES)
def test_the_layers_are_those_of_timm(name: str) -> None:
    body, ours = timm.create_model(f"tf_{name}", num_classes=7), efficientnet_lite.build(name, 7)
    assert list(ours.state_dict()) == list(body.state_dict())
    ours.load_state_dict(body.state_dict())
    x = torch.randn(2, 3, 65, 98, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(x), body.eval()(x))


def test_random_weights_are_drawn_as_timm_draws_them() -> None:
    torch.manual_seed(0)
    drawn = efficientnet_lite.build("efficientnet_lite0").state_dict()
    for key, value in timm.create_model("tf_efficientnet_lite0").state_dict().items():
        if value.numel() > 1000:
            assert float(drawn[key].std()) == pytest.approx(float(value.std()), rel=0.2), key
        elif value.is_floating_point() and ".conv_" not in f".{key}":
            assert torch.equal(drawn[key], value), key


def test_the_bank_that_comes_along_foretells_the_network_that_comes_along() -> None:
    bank = ppgn.load("natural64").priors["bank"]
    assert bank.regression(anchors.digest(imagenet.load("efficientnet_lite1"))) is not None
