"""Convolutions chained to one node give what they give one by one, bit for bit, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from ppgn.networks import efficientnet_lite
from ppgn.networks.network import Network, Preprocessing
from ppgn.numerics import chained, convolution
from ppgn.numerics.convolution import AlikeInAnyBatch

BLOCKS = {  # channels, outputs, kernel, stride, wider
    "not wider": (16, 8, 3, 1, 1),
    "added": (16, 16, 3, 1, 6),
    "strided": (16, 24, 5, 2, 6),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Chains are of one thread, however many the machine gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    block = efficientnet_lite.Block(*BLOCKS[name])
    efficientnet_lite._fill(block)
    efficientnet_lite.fold_norms(block.eval())
    for parameter in block.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    block.to(memory_format=torch.channels_last)
    return Network(block, Preprocessing(), name="block").body


def images(count: int, size: int = 13) -> Tensor:
    x = torch.randn(count, 16, size, size, generator=torch.Generator().manual_seed(1))
    return (4 * x).contiguous(memory_format=torch.channels_last)


def walked(block: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out of a block, and the gradient of a fixed sum of it."""
    x = x.clone().requires_grad_(True)
    out = block(x)
    return out.detach(), torch.autograd.grad((out * torch.linspace(-1, 1, out.shape[-1])).sum(), x)[0]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images every chain of convolutions was given."""
    found: list[int] = []
    original = chained.Chained.forward

    def counted(ctx: object, x: Tensor, *rest: object) -> Tensor:
        found.append(len(x))
        return original(ctx, x, *rest)

    monkeypatch.setattr(chained.Chained, "forward", staticmethod(counted))
    return found


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", BLOCKS)
def test_it_is_what_the_layers_compute(name: str, count: int, nodes: list[int]) -> None:
    block, x = built(name), images(count)
    with AlikeInAnyBatch():
        whole = walked(block, x)
        assert nodes == [count]
        one_by_one = walked(block._plain, x)
    assert nodes == [count]
    for here, there in zip(whole, one_by_one, strict=True):
        assert torch.equal(here, there)
    for here, there in zip(whole, walked(block, x), strict=True):
        torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-4)
    assert nodes == [count]  # without the mode, in PyTorch's own way


def test_who_listens_to_a_layer_hears_it(nodes: list[int]) -> None:
    block, x = built("added"), images(2)
    with AlikeInAnyBatch():
        expected = block(x)
        heard: list[Tensor] = []
        handle = block.bn2.register_forward_hook(lambda _module, _inputs, output: heard.append(output.clone()))
        assert torch.equal(block(x), expected)
        handle.remove()
        assert torch.equal(block(x), expected)
    assert len(heard) == 1
    assert nodes == [2, 2]


def test_blocks_of_a_stage_are_one_node_unless_somebody_listens_to_one(nodes: list[int]) -> None:
    stage, x = efficientnet_lite.Stage(built("added"), built("not wider")), images(3)
    with AlikeInAnyBatch():
        whole = walked(stage, x)
        assert nodes == [3]
        heard: list[Tensor] = []
        handle = stage[0].register_forward_hook(lambda _module, _inputs, output: heard.append(output.clone()))
        listened = walked(stage, x)
        assert nodes == [3, 3, 3]
        handle.remove()
        inner = stage[1].bn1.register_forward_hook(lambda _module, _inputs, output: heard.append(output.clone()))
        again = walked(stage, x)
        assert nodes == [3, 3, 3, 3]
        inner.remove()
        assert torch.equal(stage(x), whole[0])
        plain = walked(stage._plain, x)
    assert len(heard) == 2
    for found in (listened, again, plain):
        for here, there in zip(whole, found, strict=True):
            assert torch.equal(here, there)


def test_weights_and_activations_that_change_are_noticed(nodes: list[int]) -> None:
    block, x = built("added"), images(2)
    with AlikeInAnyBatch():
        before = block(x)
        block.conv_pw.weight.mul_(0.5)
        assert torch.equal(block(x), block._plain(x))
        block.conv_pwl.weight.data = 2 * block.conv_pwl.weight
        assert torch.equal(block(x), block._plain(x))
        block.double()
        assert torch.equal(block(x.double()), block._plain(x.double()))
        block.float().bn1 = nn.Tanh()
        assert torch.equal(block(x), block._plain(x))
    assert not torch.equal(block(x), before)
    assert nodes == [2, 2, 2, 2]


def test_what_is_not_a_number_stays_none() -> None:
    block, x = built("strided"), images(2)
    x[0, 0, 6, 6] = float("nan")
    with AlikeInAnyBatch():
        out = block(x)
    assert out[0].isnan().any()
    assert out[1].isfinite().all()


def test_trainable_weights_get_their_gradients(nodes: list[int]) -> None:
    block = built("strided")
    block.conv_pwl.weight.requires_grad_(True)
    with AlikeInAnyBatch():
        block(images(1)).sum().backward()
    assert block.conv_pwl.weight.grad is not None
    assert nodes == []


def test_a_gradient_can_be_differentiated() -> None:
    block = efficientnet_lite.Stage(built("added"), built("not wider")).double()
    x = images(1, 5).double().requires_grad_(True)

    def twice() -> Tensor:
        (gradient,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    expected = twice()
    with AlikeInAnyBatch():
        torch.testing.assert_close(twice(), expected)


def test_several_threads_and_lower_precision_go_the_usual_way(nodes: list[int]) -> None:
    block, x, before = built("strided"), images(2), torch.get_num_threads()
    with AlikeInAnyBatch(), torch.autocast("cpu", torch.bfloat16):
        assert block(x).dtype == torch.bfloat16
    torch.set_num_threads(2)
    with AlikeInAnyBatch():
        block(x)
    torch.set_num_threads(before)
    assert nodes == []


@pytest.mark.skipif(not convolution.PACKS, reason="weights are moved in every pass")
@pytest.mark.parametrize("padding", [0, 1])
def test_weights_laid_out_once_convolve_alike(padding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv2d(16, 24, 3, padding=padding).requires_grad_(False).to(memory_format=torch.channels_last)
    for count in (1, 9):
        with AlikeInAnyBatch():
            packed = walked(layer, images(count))
            monkeypatch.setattr(convolution, "PACKS", False)
            moved = walked(layer, images(count))
            monkeypatch.undo()
        for here, there in zip(packed, moved, strict=True):
            assert torch.equal(here, there)
