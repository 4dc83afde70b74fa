from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing

LABELS = ("red, ruby", "green", "blue")
ROOM = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.4, 0.9]], dtype=torch.float64)  # (B, 3): two evenly coloured images


class Colours(nn.Module):
    """Logits of red, green and blue are the summed channels over two."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3)) / 2


def classifier(target: str | int = "green", gradient: str = "full", scale: float = 1.0) -> Classifier:
    network = Network(Colours(), Preprocessing(scale=scale).double(), name="colours", labels=LABELS)
    return Classifier(network, target, gradient)


def even(colours: Tensor) -> Tensor:
    return colours[:, :, None, None].expand(-1, -1, 2, 2).clone().requires_grad_()  # logits are twice the colour


def gradient(value: Tensor, x: Tensor) -> Tensor:
    """∂ value / ∂ x as a row of three: every pixel of a channel has the same."""
    (grad,) = torch.autograd.grad(value.sum(), x)
    return grad[:, :, 0, 0]


def softmax(logits: Tensor) -> list[list[float]]:
    return [[math.exp(z) / sum(map(math.exp, row)) for z in row] for row in logits.tolist()]


@pytest.mark.parametrize("mode", ["full", "truncated"])
def test_value_is_the_log_softmax_of_the_target(mode: str) -> None:
    x = even(ROOM)
    expected = [math.log(p[1]) for p in softmax(2 * ROOM)]
    assert classifier("green", mode)(x).tolist() == pytest.approx(expected, abs=1e-12)


def test_full_gradient_is_that_of_the_value() -> None:
    x = even(ROOM)
    p = torch.tensor(softmax(2 * ROOM))
    torch.testing.assert_close(gradient(classifier()(x), x).float(), (torch.tensor([0.0, 1.0, 0.0]) - p) / 2)


def test_truncated_gradient_flows_through_the_target_s_logit_alone() -> None:
    x = even(ROOM)
    p = torch.tensor(softmax(2 * ROOM))
    expected = (1 - p) * torch.tensor([0.0, 1.0, 0.0]) / 2
    torch.testing.assert_close(gradient(classifier(gradient="truncated")(x), x).float(), expected)


def test_truncation_leaves_no_rounding_in_the_value() -> None:
    x = torch.rand(64, 3, 2, 2, dtype=torch.float64)
    assert torch.equal(classifier(gradient="truncated", scale=1e4)(x), classifier(scale=1e4)(x))


@pytest.mark.parametrize("mode", ["full", "truncated"])
def test_complement_is_what_the_other_classes_share(mode: str) -> None:
    x = even(ROOM)
    p = torch.tensor(softmax(2 * ROOM), dtype=torch.float64)
    value = classifier(gradient=mode).complement(x)
    torch.testing.assert_close(value, torch.log(1 - p[:, 1]))
    others = p.clone()
    others[:, 1] = 0
    full = others * (p[:, 1:2] / (1 - p[:, 1:2]))
    full[:, 1] = -p[:, 1]
    truncated = torch.zeros_like(p)
    truncated[:, 1] = -p[:, 1]
    torch.testing.assert_close(gradient(value, x), (full if mode == "full" else truncated) / 2)


def test_a_certain_class_is_still_repelled_and_an_impossible_one_still_sought() -> None:
    x = even(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64))
    certain = classifier(scale=100)  # logits of 200: p is 1 and 0 to the last digit
    assert certain.complement(x).tolist() == pytest.approx([math.log(2) - 200, 0.0])
    assert gradient(certain.complement(x), x)[0].tolist() == pytest.approx([25.0, -50.0, 25.0])
    assert certain(x).tolist() == pytest.approx([0.0, -200.0])
    assert gradient(certain(x), x)[1].tolist() == pytest.approx([-50.0, 50.0, 0.0])


def test_rows_are_independent() -> None:
    x = torch.rand(5, 3, 2, 2, dtype=torch.float64)
    together = classifier()(x)
    alone = torch.cat([classifier()(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)


def test_half_precision_logits_are_read_in_single() -> None:
    network = Network(Colours(), Preprocessing().to(torch.bfloat16), name="colours")
    out = Classifier(network, 1)(even(ROOM).to(torch.bfloat16))
    assert out.dtype == torch.float32


def test_describe_reports_plain_numbers_and_names() -> None:
    first, _ = classifier("ruby").describe(even(ROOM))
    p = softmax(2 * ROOM)[0]
    assert first["prob"] == pytest.approx(p[0])
    assert first["log_prob"] == pytest.approx(math.log(p[0]))
    assert [name for name, _ in first["top5"]] == ["red", "green", "blue"]
    assert [prob for _, prob in first["top5"]] == pytest.approx(p)
    assert json.loads(json.dumps(first))["prob"] == first["prob"]


def test_targets_are_names_or_indices() -> None:
    assert classifier("Ruby").name == "red"
    assert classifier(2).name == classifier("2").name == "blue"
    condition = classifier("green", "truncated")
    other = condition.with_target("blue")
    assert (other.name, other.gradient, condition.name) == ("blue", "truncated", "green")
    assert other.network is condition.network
    with pytest.raises(InputError, match="unknown class 'gren'; nearest: green"):
        classifier("gren")
    with pytest.raises(InputError, match="unknown gradient 'exact'"):
        classifier(gradient="exact")


def test_a_network_without_labels_is_asked_by_index() -> None:
    network = Network(Colours(), Preprocessing().double(), name="colours")
    condition = Classifier(network, 2)
    assert condition.name == "2"
    with pytest.raises(InputError, match="no class names; give an index from 0 to 2"):
        Classifier(network, "blue")


def test_from_torchscript(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Colours()).save(str(tmp_path / "colours.ts"))
    condition = Classifier.from_torchscript(
        tmp_path / "colours.ts", "blue", labels=LABELS, size=2, gradient="truncated"
    )
    expected = [math.log(p[2]) for p in softmax(2 * ROOM)]
    assert condition(even(ROOM).float()).tolist() == pytest.approx(expected, abs=1e-6)
    assert condition.gradient == "truncated"


def test_any_of_several_classes_sums_their_probabilities() -> None:
    x = even(ROOM)
    p = torch.tensor(softmax(2 * ROOM), dtype=torch.float64)
    warm = classifier("any:red,green")
    assert warm.name == "red,green"
    torch.testing.assert_close(warm(x).exp(), p[:, :2].sum(1))
    torch.testing.assert_close((~warm)(x).exp(), p[:, 2])
    assert [row["prob"] for row in warm.describe(x)] == pytest.approx(p[:, :2].sum(1).tolist())
    full = gradient(warm(x), x)
    torch.testing.assert_close(full[:, 2], -p[:, 2] / 2)
    truncated = gradient(classifier("any:red,green", "truncated")(x), x)
    torch.testing.assert_close(truncated[:, 2], torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(warm.with_target("blue")(x).exp(), p[:, 2])
