"""Any network, by object, by name and by file: what it takes is found out, what cannot be used is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.networks import own

MINE = """
import torch
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
number = 3

def make():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))

class Sized(nn.Module):
    def __init__(self, size):
        super().__init__()
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "own_nets.py").write_text(MINE)
    return tmp_path / "own_nets.py"


def linear(side: int, channels: int = 3, classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, classes))


@pytest.mark.parametrize(
    ("body", "size", "channels"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), 224, "rgb"),  # of any size
        (linear(32), 32, "rgb"),
        (linear(28, channels=1), 28, "gray"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 224, "gray"),
    ],
)
def test_what_a_module_takes_is_found_out(body: nn.Module, size: int, channels: str) -> None:
    body.train()
    condition = Classifier(body, 1)
    assert (condition.network.preprocessing.size, condition.network.preprocessing.channels) == (size, channels)
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    assert torch.autograd.grad(condition(x).sum(), x)[0].abs().sum() > 0
    assert body.training
    assert all(parameter.requires_grad for parameter in body.parameters())


def test_grey_is_the_luma_of_the_colours() -> None:
    network = own.load(linear(8, channels=1, classes=64), size=8, mean=[0.5], std=[0.25])
    weight, bias = network.body[1].weight, network.body[1].bias
    x = torch.rand(2, 3, 8, 8)
    luma = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    torch.testing.assert_close(network(x), ((luma - 0.5) / 0.25).flatten(1) @ weight.T + bias)


def test_labels_mean_and_std_are_those_given(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    condition = Classifier(body, "green", labels=tmp_path / "names.txt", size=4, mean=mean, std=std)
    x = torch.rand(2, 3, 4, 4)
    logits = (x.mean((2, 3)) - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(condition(x), logits.log_softmax(1)[:, 1])
    assert condition.name == "green"


def test_double_precision_is_no_obstacle() -> None:
    assert own.load(linear(32).double())(torch.rand(1, 3, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize(("name", "classes", "size"), [("net", 3, 28), ("make", 4, 224)])
def test_a_name_in_a_file(mine: Path, name: str, classes: int, size: int) -> None:
    network = own.load(f"{mine}:{name}")
    assert (network.classes, network.preprocessing.size) == (classes, size)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.backbone."])
def test_weights_may_stand_behind_a_prefix(mine: Path, tmp_path: Path, prefix: str) -> None:
    trained = {"1.weight": torch.rand(3, 784), "1.bias": torch.rand(3)}
    more = {"loss.weight": torch.ones(3)} if prefix not in ("", "module.") else {}  # all stands behind "module."
    state = {f"{prefix}{name}": value for name, value in trained.items()} | more
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "run.ckpt")
    network = own.load(f"{mine}:net", weights=tmp_path / "run.ckpt", labels=["a", "b", "c"])
    assert torch.equal(network.body[1].weight, trained["1.weight"])
    assert network.labels == ("a", "b", "c")


def test_a_network_of_torchvision_with_weights_of_a_training_framework(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = squeezenet1_1(num_classes=5)
    torch.save({"state_dict": {f"model.{k}": v for k, v in body.state_dict().items()}}, tmp_path / "last.ckpt")
    settings: Any = {"weights": tmp_path / "last.ckpt", "labels": list("abcde"), "size": 64}
    network = own.load("torchvision/squeezenet1_1", **settings)
    x = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network(x), body.eval()((x - mean) / std), atol=1e-4, rtol=1e-3)
    other = own.load("torchvision/squeezenet1_1", **settings, mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0])
    torch.testing.assert_close(other(x), body(x), atol=1e-4, rtol=1e-3)


class Two(nn.Module):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image


class Best(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).argmax(1, keepdim=True)


@pytest.mark.parametrize(
    ("body", "settings", "message"),
    [
        (Two(), {}, r"takes 2 inputs \(image, mask\); wrap"),
        (Best(), {}, "torch.int64 .* expected logits"),
        (nn.Identity(), {}, "expected logits"),
        (nn.Sequential(linear(32), nn.Softmax(1)), {}, "probabilities"),
        (linear(32, classes=1), {}, "one number per image"),
        (linear(37), {}, "does not take images of 224, 64, 32.* give size=PIXELS"),
        (linear(32), {"size": 16}, "does not take images of 16 pixels"),
        (linear(32), {"labels": ["a", "b"]}, "2 class names for the 3 outputs"),
        (linear(32), {"mean": [0.5, 0.5]}, "expected three numbers each"),
        (linear(32), {"classes": 10}, "classes=10"),
        (linear(32), {"weights": "none.pth"}, "no such file"),
        ("own_nets.py", {}, "which of its"),
        ("{mine}:number", {}, "is a int; expected an nn.Module"),
        ("{mine}:Sized", {}, "cannot be made"),
        ("{mine}:nte", {}, "there is no 'nte'"),
        ("nowhere.py:net", {}, "no file 'nowhere.py'"),
        ("nowhere.ts", {}, "no such file"),
        ("resnet18", {}, "nearest: timm/resnet18"),
    ],
)
def test_what_cannot_be_used_is_one_line(mine: Path, body: Any, settings: dict[str, Any], message: str) -> None:
    given = body.format(mine=mine) if isinstance(body, str) else body
    with pytest.raises(InputError, match=message) as caught:
        own.load(given, **settings)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused(mine: Path, tmp_path: Path) -> None:
    torch.save({"1.weight": torch.rand(3, 700), "1.bias": torch.rand(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"do not fit .*net: '1.weight' has shape"):
        own.load(f"{mine}:net", weights=tmp_path / "other.pth")


def test_a_network_has_its_own_preprocessing() -> None:
    network = own.load(linear(32))
    assert own.load(network) is network
    with pytest.raises(InputError, match="has its preprocessing"):
        own.load(network, size=16)


def test_what_makes_a_network_with_its_preprocessing_is_taken_as_it_is() -> None:
    network = own.load("ppgn.networks.digits:load")
    assert network.labels is not None
    assert "hidden" in network.layers()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 10)
    with pytest.raises(InputError, match="preprocessing"):
        own.load("ppgn.networks.digits:load", size=32)
