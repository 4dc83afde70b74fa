"""Only the way back changes, it changes at every rectifier, and what cannot be changed is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg11

from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.rectifiers import nonlinearities, ruled, uncapped


class Sum(nn.Module):
    """A network of one output, (B, 3, H, W) -> (B,)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x).flatten(1).sum(1)


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def back(network: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x)
    return slope


X = torch.tensor([-1.0, 2.0, 9.0, 3.0]).view(1, 1, 2, 2)
WEIGHTS = torch.tensor([1.0, -1.0, 2.0, 3.0]).view(1, 1, 2, 2)


class Weighed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * WEIGHTS


@pytest.mark.parametrize(
    ("rectifier", "rule", "expected"),
    [
        (nn.ReLU(), "deconvnet", [1.0, 0, 2, 3]),  # by the signal's sign alone
        (nn.ReLU6(), "deconvnet", [1.0, 0, 2, 3]),
        (nn.ReLU(), "guided", [0.0, 0, 2, 3]),  # closed at -1
        (nn.ReLU6(), "guided", [0.0, 0, 0, 3]),  # and at 9
        (nn.Hardtanh(0, 2.5), "guided", [0.0, 0, 0, 0]),
        (nn.ReLU(inplace=True), "guided", [0.0, 0, 2, 3]),
    ],
)
def test_the_rules(rectifier: nn.Module, rule: str, expected: list[float]) -> None:
    network = Sum(nn.Identity(), rectifier, Weighed())
    found = ruled(network, rule, X)
    assert back(found, X).flatten().tolist() == expected
    assert torch.equal(found(X), network(X.clone()))
    assert isinstance(network.inside[1], nn.ReLU | nn.Hardtanh)  # the network given keeps its own


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_equals_captum_bit_for_bit_where_captum_is_right(rule: str) -> None:
    attr = pytest.importorskip("captum.attr", reason="the extra toolbox is not installed")
    torch.manual_seed(0)
    network = vgg11(weights=None, num_classes=10).eval().requires_grad_(False)
    x = torch.rand(1, 3, 64, 64)

    class Logit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)[:, 3]

    peer = {"deconvnet": attr.Deconvolution, "guided": attr.GuidedBackprop}[rule]
    theirs = peer(network).attribute(x.clone().requires_grad_(), target=3)
    ours = back(ruled(Logit(), rule, x), x)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, back(Logit(), x))


def test_relu6_is_replaced_where_captum_returns_the_gradient() -> None:
    attr = pytest.importorskip("captum.attr", reason="the extra toolbox is not installed")
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.ReLU6(), nn.Conv2d(8, 1, 3)]
    network, x = Sum(*layers), torch.randn(1, 3, 12, 12)
    plain = back(network, x)
    theirs = attr.Deconvolution(network).attribute(x.clone().requires_grad_())
    assert torch.equal(theirs, plain)  # the day this fails, captum has learnt of ReLU6
    assert F.cosine_similarity(back(ruled(network, "deconvnet", x), x).flatten(), plain.flatten(), dim=0) < 0.9


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Functional(), r"relu in inside\.1"),
        (nn.SiLU(), r"silu in inside\.1"),
        (nn.GELU(), "gelu"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.Hardswish(), "hardswish"),
    ],
)
def test_other_nonlinearities_are_refused_by_name(layer: nn.Module, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ruled(Sum(nn.ReLU(), layer), "deconvnet", torch.rand(1, 3, 4, 4))


def test_a_network_without_rectifiers_is_refused() -> None:
    with pytest.raises(InputError, match="no rectifiers"):
        ruled(Sum(nn.Conv2d(3, 2, 3), nn.Sigmoid()), "guided", torch.rand(1, 3, 4, 4))


def test_what_only_keeps_from_dividing_by_zero_is_no_rectifier() -> None:
    class Normalised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(x.flatten(1))

    assert nonlinearities(Sum(Normalised()), torch.rand(1, 3, 4, 4)) == []


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_rectifiers_inside_a_script_are_seen() -> None:
    script = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="relu in"):
        ruled(Sum(script), "guided", torch.rand(1, 3, 8, 8))


def test_a_ceiling_of_the_layer_itself_is_lifted() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6())
    nn.init.normal_(block[0].weight, std=5)
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU6(), block, nn.Flatten(), nn.Linear(64, 2))
    network = Network(body, Preprocessing(4, std=(0.01,)), name="net")
    x = torch.rand(2, 3, 4, 4)
    for layer in ("1", "2", "2.1"):
        free = uncapped(network, layer)
        before, after = (each.features(x, [layer])[layer] for each in (network, free))
        assert before.max() == 6
        assert after.max() > 6
        assert torch.equal(after.clamp(max=6), before)
    assert uncapped(network, "0") is uncapped(network, "none") is network
    assert isinstance(network.body[1], nn.ReLU6)
    assert isinstance(uncapped(network, "2").body[1], nn.ReLU6)  # in front of the layer


def test_where_more_would_change_the_ceiling_stays() -> None:
    class Twice(nn.Module):
        """Its last module runs first."""

        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU6()

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.act(x)

    network = Network(nn.Sequential(Twice(), nn.Flatten()), Preprocessing(4, std=(0.01,)), name="net")
    assert uncapped(network, "0") is network
