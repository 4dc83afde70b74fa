from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


class Body(nn.Module):
    """Three channels in, ReLU in place behind `first`, `twice` run twice, and a count of what ran."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(2, 2, 1, bias=False)
        self.pair = Pair()
        self.head = nn.Flatten()
        self.spare = nn.Conv2d(2, 2, 1)
        nn.init.constant_(self.first.weight, -1.0)
        nn.init.constant_(self.twice.weight, 2.0)
        self.heads_run = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x)) + 1
        x = self.pair(self.twice(self.twice(x)))["out"]
        self.heads_run += 1
        out: Tensor = self.head(x)
        return out


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x}


@pytest.fixture
def network() -> Network:
    return Network(Body(), Preprocessing(size=2), name="tiny")


def hooks(network: Network) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda x: x),
        ({"mean": MEAN, "std": STD}, lambda x: np.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)),
        ({"mean": (127.0,) * 3, "std": (128.0,) * 3, "scale": 255.0}, lambda x: (255 * x - 127) / 128),
        (
            {"mean": (104.0, 117.0, 123.0), "scale": 255.0, "channels": "bgr"},
            lambda x: np.stack([255 * x[:, 2] - 104, 255 * x[:, 1] - 117, 255 * x[:, 0] - 123], 1),
        ),
        ({"size": 4, "interpolation": "bilinear"}, None),
    ],
)
def test_preprocessing_is_its_formula(settings: dict[str, Any], expected: Callable[[Any], Any] | None) -> None:
    x = images(2, 3, 5, 7) * 3 - 1  # outside [0, 1] too: nothing is clamped
    out = Preprocessing(**settings).double()(x)
    if expected is None:
        resized = torch.nn.functional.interpolate(x, (4, 4), mode="bilinear", antialias=True)
        torch.testing.assert_close(out, resized)
    else:
        np.testing.assert_allclose(out.numpy(), expected(x.numpy()), rtol=0, atol=1e-12)


def test_shrinking_is_antialiased_like_pillow() -> None:
    x = images(1, 3, 48, 48, dtype=torch.float32)
    out = Preprocessing(size=20)(x)
    for channel in range(3):
        pillow = Image.fromarray(x[0, channel].numpy(), mode="F").resize((20, 20), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(out[0, channel].numpy(), np.asarray(pillow), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side", "top"), [(227, 2), (256, 16), (224, 0)])
def test_a_larger_image_is_cut_to_its_centre_where_that_is_asked(side: int, top: int) -> None:
    x = torch.rand(1, 3, side, side)
    seen = Preprocessing(224, crop=True)(x)
    torch.testing.assert_close(seen, x[..., top : top + 224, top : top + 224])
    assert Preprocessing(224, crop=True)(x[..., :100, :100]).shape[-2:] == (224, 224)


def test_enlarging_is_cubic_convolution() -> None:
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    x[:, :, :, 4] = 1  # a line, whose enlargement to twice the size shows the kernel at ±0.25, ±0.75, ...
    near = [1.25 * t**3 - 2.25 * t**2 + 1 for t in (0.75, 0.25)]
    far = [-0.75 * t**3 + 3.75 * t**2 - 6 * t + 3 for t in (1.75, 1.25)]
    row = Preprocessing(size=16)(x)[0, 0, 8]
    torch.testing.assert_close(row[5:13].tolist(), [*far, *near, *near[::-1], *far[::-1]], rtol=0, atol=1e-12)
    assert row.min() < 0


def test_preprocessing_is_exact_in_every_precision_and_stays_out_of_checkpoints() -> None:
    preprocessing = Preprocessing(mean=MEAN, std=STD)
    assert preprocessing.state_dict() == {}
    moved = copy.deepcopy(preprocessing).half().double()
    assert moved.gain.flatten().tolist() == [1 / std for std in STD]
    assert moved.shift.flatten().tolist() == [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert Preprocessing(size=4).to(dtype)(images(1, 3, 8, 8, dtype=dtype)).dtype == dtype


def test_preprocessing_made_without_memory_is_whole_once_it_has_some() -> None:
    with torch.device("meta"):
        preprocessing = Preprocessing(mean=MEAN, std=STD)
    assert preprocessing.to_empty(device="cpu").gain.flatten().tolist() == pytest.approx([1 / std for std in STD])


def test_gradients_reach_the_image_through_the_constants() -> None:
    x = images(1, 3, 2, 2).requires_grad_()
    Preprocessing(std=STD, scale=2.0, channels="bgr").double()(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, :, 0, 0].tolist(), [2 / STD[2], 2 / STD[1], 2 / STD[0]])


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, (3, 4, 4), r"\(3, 4, 4\): expected \(B, 3, H, W\)"),
        ({}, (1, 2, 4, 4), r"\(1, 2, 4, 4\)"),
        ({"size": 0}, (1, 3, 4, 4), "size=0: expected at least 1"),
        ({"channels": "bgrr"}, (1, 3, 4, 4), "unknown channels 'bgrr'; nearest: bgr"),
        ({"interpolation": "cubic"}, (1, 3, 4, 4), "nearest: bicubic"),
        ({"std": (1.0, 0.0, 1.0)}, (1, 3, 4, 4), "std not 0"),
    ],
)
def test_unusable_input_and_settings_are_refused(
    settings: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing(**settings)(torch.zeros(shape))


def test_a_network_is_frozen_and_stays_in_evaluation_mode(network: Network) -> None:
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in nn.Sequential(network).train()[0].modules())


def test_no_activation_makes_a_copy_for_its_gradient_to_work_in_place() -> None:
    body = nn.Sequential(nn.ReLU6(inplace=True), nn.ReLU(inplace=True), nn.SiLU(inplace=True))
    network = Network(body, Preprocessing(scale=10.0), name="tiny")
    assert [module.inplace for module in network.body] == [True, True, False]  # the first one is ours
    x = images(1, 3, 2, 2)
    clipped = (10 * x).clamp(max=6)
    torch.testing.assert_close(network.double()(x), clipped * clipped.sigmoid())


def test_features_are_the_values_of_their_layers_in_the_order_asked(network: Network) -> None:
    x = images(3, 3, 2, 2, dtype=torch.float32).requires_grad_()
    found = network.features(x, ["twice", "first", "act"])
    assert list(found) == ["twice", "first", "act"]
    total = x.sum(1, keepdim=True).expand(-1, 2, -1, -1)
    torch.testing.assert_close(found["first"], -total)  # not what the ReLU behind it made of it, in place
    torch.testing.assert_close(found["act"], torch.zeros(3, 2, 2, 2))
    torch.testing.assert_close(found["twice"], torch.full((3, 2, 2, 2), 16.0))  # the last of its two runs
    (gradient,) = torch.autograd.grad(found["first"].sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, -2.0))


def test_a_forward_pass_ends_behind_the_last_layer_it_is_made_for(network: Network) -> None:
    x = images(1, 3, 2, 2, dtype=torch.float32)
    first = network.features(x, ["first", "act"])
    assert network.body.heads_run == 1  # counts how often each layer runs
    again = network.features(x, ["first", "act"])
    assert network.body.heads_run == 1
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    for _ in range(2):
        assert network.features(x, ["first", "twice"])["twice"].unique().item() == 16.0
    assert network.body.heads_run == 3  # `twice` runs twice: only the end of the pass tells which run was the last
    network(x)
    assert network.body.heads_run == 4


def test_no_hook_is_left_behind(network: Network) -> None:
    x = images(1, 3, 2, 2, dtype=torch.float32)
    for layers in (["first"], ["first"], ["twice", "head"], [""], ["fisrt"], ["spare"], ["pair"]):
        try:
            network.features(x, layers)
        except InputError:
            assert layers[0] in ("", "fisrt", "spare", "pair")
        assert hooks(network) == 0
    network.layer_shapes()
    network.get_parameter("body.first.weight").data = torch.zeros(2, 2, 1, 1)  # so that the forward pass fails
    with pytest.raises(RuntimeError, match="channels"):
        network.features(x, ["act"])
    assert hooks(network) == 0


def test_layers_are_read_while_another_passes_the_same_image(network: Network) -> None:
    x = images(2, 3, 2, 2, dtype=torch.float32)
    with network.reading(x, ["twice", "first"]) as found:
        network(x + 1)  # another image
        assert found == {}
        out = network(x)
        network(x + 1)
    expected = network.features(x, ["twice", "first"])
    torch.testing.assert_close({name: found[name] for name in expected}, expected, rtol=0, atol=0)
    assert torch.equal(out, network(x))
    assert hooks(network) == 0
    network.features(x, ["act"])  # from now on a pass for it ends there
    with network.reading(x, ["first"]) as found:
        network.features(x, ["act"])
    assert found == {}
    with pytest.raises(InputError, match="unknown layer"), network.reading(x, ["fisrt"]):
        pass
    assert hooks(network) == 0


def test_a_copy_of_a_network_is_the_same_and_any_other_is_not(network: Network) -> None:
    twin = copy.deepcopy(network)
    assert twin.same_as(network)
    assert not copy.deepcopy(network).double().same_as(network)
    assert not Network(copy.deepcopy(network.body), Preprocessing(size=4), name="tiny").same_as(network)
    assert not Network(copy.deepcopy(network.body), Preprocessing(size=2), name="other").same_as(network)
    assert not Network(nn.Sequential(), Preprocessing(size=2), name="tiny").same_as(network)
    twin.get_parameter("body.spare.bias").data += 1e-3
    assert not twin.same_as(network)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fisrt", "unknown layer of tiny 'fisrt'; nearest: first"),
        ("spare", "layer 'spare' of tiny is not used in its forward pass"),
        ("pair", "layer 'pair' of tiny gives no single tensor"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(network: Network, layer: str, message: str) -> None:
    for _ in range(2):  # the second call knows no more than the first
        with pytest.raises(InputError, match=message):
            network.features(torch.zeros(1, 3, 2, 2), ["first", layer])


def test_layers_are_listed_as_defined_and_their_shapes_as_run(network: Network) -> None:
    assert network.layers() == ["first", "act", "twice", "pair", "head", "spare"]
    shapes = network.layer_shapes()
    assert list(shapes) == ["first", "act", "twice", "head"]
    assert shapes["twice"] == (2, 2, 2)
    assert shapes["head"] == (8,)


def test_the_number_of_classes_is_that_of_the_outputs_and_labels_are_as_many(network: Network) -> None:
    assert network.classes == 8
    assert Network(Body(), Preprocessing(size=2), name="tiny", labels=list("abcdefgh")).labels == tuple("abcdefgh")
    with pytest.raises(InputError, match="2 class names for the 8 outputs"):
        Network(Body(), Preprocessing(size=2), name="tiny", labels=["a", "b"])


def test_the_module_given_stays_as_it_is() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.SiLU(inplace=True), nn.Dropout())
    network = Network(body, Preprocessing(size=2), name="tiny")
    assert body.training
    assert all(parameter.requires_grad for parameter in body.parameters())
    assert type(body[1]) is nn.Linear
    assert body[2].inplace
    body[1].weight.data.zero_()
    assert network.get_parameter("body.1.weight").any()
    assert Network(body, Preprocessing(size=2), name="tiny", copy=False).body is body


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_grey_pictures_are_colour_with_equal_channels(channels: str) -> None:
    grey = torch.rand(2, 1, 4, 4)
    prepare = Preprocessing(None, (0.5,), (0.25,), channels=channels)
    assert torch.equal(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(prepare(grey)[:, :1], 4 * grey - 2)
