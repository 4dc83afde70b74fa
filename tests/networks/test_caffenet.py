from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.networks import caffenet, imagenet
from ppgn.networks.caffenet import CaffeNet
from ppgn.networks.network import Network

SHAPES = {
    "conv1": (96, 55, 55),
    "pool1": (96, 27, 27),
    "norm1": (96, 27, 27),
    "conv2": (256, 27, 27),
    "pool2": (256, 13, 13),
    "norm2": (256, 13, 13),
    "conv3": (384, 13, 13),
    "conv4": (384, 13, 13),
    "conv5": (256, 13, 13),
    "pool5": (256, 6, 6),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
}


@pytest.fixture(scope="module")
def network() -> Network:
    return caffenet.load()


def test_layers_have_the_published_names_and_shapes_in_the_published_order(network: Network) -> None:
    shapes = network.layer_shapes()
    assert shapes == SHAPES
    assert list(shapes) == list(SHAPES)


def test_sizes_of_weights_are_those_of_the_published_network() -> None:
    with torch.device("meta"):
        body = CaffeNet()
    sizes = {name.removesuffix(".weight"): p.numel() for name, p in body.named_parameters() if name.endswith("weight")}
    assert sizes == {
        "conv1": 96 * 3 * 11 * 11,
        "conv2": 256 * 48 * 5 * 5,  # two groups: 48 of the 96 channels each
        "conv3": 384 * 256 * 3 * 3,
        "conv4": 384 * 192 * 3 * 3,
        "conv5": 256 * 192 * 3 * 3,
        "fc6": 4096 * 9216,
        "fc7": 4096 * 4096,
        "fc8": 1000 * 4096,
    }
    assert sum(p.numel() for p in body.parameters()) == 60_965_224


def test_preprocessing_is_mean_subtracted_bgr(network: Network) -> None:
    red = torch.tensor([1.0, 0.2, 0.0]).view(1, 3, 1, 1).expand(1, 3, 227, 227)
    assert network.preprocessing(red)[0, :, 9, 9].tolist() == pytest.approx([-104.0, 51 - 117.0, 255 - 123.0])


def test_normalisation_divides_by_the_mean_square_of_five_neighbouring_channels(network: Network) -> None:
    x = 100 * torch.arange(1.0, 8.0).view(1, 7, 1, 1)
    near = [sum((100 * j) ** 2 for j in range(i - 2, i + 3) if 1 <= j <= 7) for i in range(1, 8)]
    expected = [100 * i / (1 + 1e-4 / 5 * near[i - 1]) ** 0.75 for i in range(1, 8)]
    assert network.get_submodule("body.norm1")(x).flatten().tolist() == pytest.approx(expected)


def test_codes_are_rectified_and_the_weights_the_same_every_time(network: Network) -> None:
    fc6 = network.features(torch.rand(1, 3, 227, 227), ["fc6"])["fc6"]
    assert fc6.min() == 0
    assert 0.2 < (fc6 == 0).float().mean() < 0.8
    again = caffenet.load().get_parameter("body.fc8.weight")
    assert torch.equal(again, network.get_parameter("body.fc8.weight"))
    assert network.get_parameter("body.fc6.weight").std().item() == pytest.approx((2 / 9216) ** 0.5, rel=1e-3)
    assert not network.restorable


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caffenet, "WIDTHS", (4, 4, 4, 4, 4, 8, 8))


@pytest.mark.parametrize("classes", [205, 1000])
def test_own_weights_are_read_from_a_file(tmp_path: Path, small: None, classes: int) -> None:
    state = CaffeNet(classes).state_dict()
    path = tmp_path / "caffenet.pth"
    torch.save(state, path)
    network = caffenet.load(path)
    assert all(torch.equal(value, state[key]) for key, value in network.body.state_dict().items())
    assert not network.restorable
    assert network.rebuilt_with == {"weights": None, "classes": classes}
    assert (network.labels is None) == (classes == 205)
    del state["fc7.bias"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"caffenet.pth' do not fit caffenet: 'fc7.bias' is missing"):
        caffenet.load(path)
    with pytest.raises(InputError, match="no such file"):
        caffenet.load(tmp_path / "none.pth")


def test_weights_of_a_model_s_encoder_and_names_in_a_file(tmp_path: Path, small: None) -> None:
    state = CaffeNet(3).state_dict()
    path = tmp_path / "model.safetensors"
    save_file(
        {f"encoder.network.body.{key}": value for key, value in state.items()}, path, {"labels": '["a", "b", "c"]'}
    )
    network = caffenet.load(path)
    assert torch.equal(network.get_parameter("body.conv1.weight"), state["conv1.weight"])
    assert network.labels == ("a", "b", "c")


def test_it_is_a_network_by_name(tmp_path: Path, small: None) -> None:
    assert "caffenet" in imagenet.available()
    assert imagenet.load("caffenet", weights=None, classes=5).classes == 5
    with pytest.raises(InputError, match=r"caffenet comes without weights; add condition.network.weights=FILE"):
        imagenet.load("caffenet")
    with pytest.raises(InputError, match="size=224; it reads 227 pixels"):
        imagenet.load("caffenet", 224, None)


@pytest.mark.parametrize(("layer", "width"), [("fc6", 4096), ("fc7", 4096), ("pool5", 9216)])
def test_the_paper_s_encoder(network: Network, layer: str, width: int) -> None:
    encoder = FeatureEncoder(network, [layer], pool=0)
    assert encoder.code_shape == (width,)
    x = torch.rand(1, 3, 227, 227)
    torch.testing.assert_close(encoder(x), network.features(x, [layer])[layer].flatten(1))
