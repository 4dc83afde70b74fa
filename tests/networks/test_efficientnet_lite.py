"""The networks that come along are those that timm builds, number for number, and a digest knows them as such."""

from __future__ import annotations

import math
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import timm
import torch

import ppgn
from ppgn import anchors
from ppgn.networks import _weights, efficientnet_lite, imagenet
from ppgn.numerics.convolution import AlikeInAnyBatch


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


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [32, 96])
def test_a_picture_is_seen_alike_in_any_batch(size: int, threads: int) -> None:
    network = imagenet.load("efficientnet_lite0", size)
    pictures = torch.rand(17, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    for count in (1, 2, 9, 17):
        x = pictures[:count].clone().requires_grad_(True)
        with AlikeInAnyBatch():
            logits = network(x)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
        found.append((logits.detach()[0], gradient[0]))
    torch.set_num_threads(before)
    torch.testing.assert_close(found[0][0], network(pictures[:1])[0], atol=1e-4, rtol=1e-4)
    for logits, gradient in found[1:]:
        assert torch.equal(logits, found[0][0])
        assert torch.equal(gradient, found[0][1])


def test_it_is_asked_once_whether_it_rounds_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    network = imagenet.load("efficientnet_lite0", 32)
    asked: list[str] = []
    original = AlikeInAnyBatch.__torch_function__

    def counted(self: AlikeInAnyBatch, func: Any, *rest: Any, **more: Any) -> Any:
        asked.append(getattr(func, "__name__", ""))
        return original(self, func, *rest, **more)

    monkeypatch.setattr(AlikeInAnyBatch, "__torch_function__", counted)
    with AlikeInAnyBatch():
        network(torch.rand(1, 3, 64, 64))
    assert "whole" in asked
    assert "conv2d" not in asked
    assert "hardtanh" not in asked


def test_of_many_pictures_some_are_seen_at_a_time_unless_somebody_listens() -> None:
    network = imagenet.load("efficientnet_lite0", 32)
    pictures = torch.rand(17, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = efficientnet_lite.EfficientNetLite.__mro__[1].forward
    with AlikeInAnyBatch(), torch.no_grad():
        parts = network(pictures)
        features = network.features(pictures, ["blocks.2"])["blocks.2"]
        handle = network.body.blocks.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
        assert torch.equal(network(pictures), parts)
        handle.remove()
        assert torch.equal(plain(network.body, network.preprocessing(pictures)), parts)
    torch.set_num_threads(before)
    assert seen == [17]
    assert len(features) == 17


def released(name: str) -> dict[str, torch.Tensor]:
    """A network with norms that are not those of the start, by name, its classifier kept by columns as in the files."""
    body = efficientnet_lite.build(name)
    random = torch.Generator().manual_seed(0)
    for value in body.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=random)
    state = body.state_dict()
    return {**state, "classifier.weight": state["classifier.weight"].T.contiguous().T}


@pytest.mark.parametrize("name", efficientnet_lite.SCALES)
def test_weights_are_folded_as_they_are_read(name: str) -> None:
    state = released(name)
    plain, read = efficientnet_lite.build(name), efficientnet_lite.folded(name, state.values())
    plain.load_state_dict(state)
    efficientnet_lite.fold_norms(plain)
    assert str(read) == str(plain)
    expected, found = plain.state_dict(), read.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert [one.stride() for one in found.values()] == [one.stride() for one in expected.values()]


def test_weights_of_another_network_are_refused() -> None:
    tensors = list(released("efficientnet_lite0").values())
    wrong = {
        r"\(1000, 1280\) is given \[\(1000, 1280\)\]": tensors[:-1],
        "more tensors": [*tensors, tensors[0]],
        r"\(32, 3, 3, 3\) is given \[\(32,\)": tensors[1:],
        r"\(32, 3, 3, 3\) is given \[\(32, 3, 3, 3\), \(1,\)": [tensors[0], tensors[1][:1], *tensors[2:]],
        "finite": [tensors[0] * math.nan, *tensors[1:]],
    }
    for said, given in wrong.items():
        with pytest.raises(ValueError, match=said):
            efficientnet_lite.folded("efficientnet_lite0", given)


def test_a_file_of_weights_runs_no_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    file = tmp_path / "weights.pth"
    for zipped in (False, True):
        torch.save({"a": torch.ones(2), "b": torch.arange(3)}, file, _use_new_zipfile_serialization=zipped)
        assert torch.equal(_weights.unpickled(file)["b"], torch.arange(3))
        torch.save({"a": Harmful()}, file, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnpicklingError, match="mkdir"):
            _weights.unpickled(file)
    assert not (tmp_path / "harm").exists()
