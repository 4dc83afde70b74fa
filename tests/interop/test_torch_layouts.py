from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.interop import importing, torch_layouts
from tests.interop import written

CAFFE = {
    f"{name}.{('weight', 'bias')[i]}": value
    for first in ("defc7", "Rconv6")
    for name, _, _, values in written.generator(16, 24, first)
    for i, value in enumerate(values)
}
DENSE = {key: value for key, value in CAFFE.items() if not key.startswith("Rconv")}


def in_xdream_s_words(name: str, pool5: bool) -> str:
    layer, _, kind = name.partition(".")
    names = {"defc7": "fc7", "defc6": "fc6", "defc5": "fc5", "Rconv6": "conv6", "Rconv7": "conv7", "Rconv8": "conv8"}
    for i in (5, 4, 3):
        names |= {f"deconv{i}": f"tconv{i}_0", f"conv{i}_1": f"tconv{i}_1"}
    names |= {f"deconv{i}": f"tconv{i}" for i in (2, 1, 0)}
    return f"{names[layer]}.{kind}"


@pytest.mark.parametrize("prefix", ["", "G.", "module.net."])
@pytest.mark.parametrize("infix", ["", ".1"])
@pytest.mark.parametrize("nested", [False, True])
def test_upconvgan_keeps_caffe_s_names(tmp_path: Path, prefix: str, infix: str, nested: bool) -> None:
    state = OrderedDict((prefix + key.replace(".", f"{infix}."), value) for key, value in DENSE.items())
    torch.save({"state_dict": state, "epoch": 3} if nested else state, tmp_path / "fc6.pt")
    source = torch_layouts.load(tmp_path / "fc6.pt")
    assert source.blobs.keys() == DENSE.keys()
    assert all(torch.equal(source.blobs[key].read(), value) for key, value in DENSE.items())


@pytest.mark.parametrize(("layer", "first"), [("fc6", "defc7"), ("pool5", "Rconv6")])
def test_xdream_has_names_of_its_own_and_no_biases_of_up_convolutions(
    tmp_path: Path, small: None, layer: str, first: str
) -> None:
    layers = written.generator(16, 24, first)
    state = {}
    for name, kind, _, (weight, bias) in layers:
        state[in_xdream_s_words(f"{name}.weight", first == "Rconv6")] = weight
        if kind != "Deconvolution":
            state[in_xdream_s_words(f"{name}.bias", first == "Rconv6")] = bias
    torch.save(state, tmp_path / "x.pt")
    made = importing.load_generator(tmp_path / "x.pt", layer)
    own = {"Rconv6": "defc7", "Rconv7": "defc6", "Rconv8": "defc5"}
    for name, kind, _, (weight, bias) in layers:
        module = made.get_submodule(own.get(name, name))
        assert torch.equal(module.weight, weight)  # type: ignore[arg-type]
        assert torch.equal(module.bias, bias if kind != "Deconvolution" else torch.zeros_like(bias))  # type: ignore


def test_safetensors_and_the_classifier_of_a_port(tmp_path: Path, small: None) -> None:
    layers = written.caffenet(importing.caffenet.WIDTHS, 7)
    state = {f"{n}.{('weight', 'bias')[i]}": v for n, _, _, values in layers for i, v in enumerate(values)}
    safetensors.torch.save_file({f"net.{key}": value for key, value in state.items()}, tmp_path / "c.safetensors")
    network = importing.load_network(tmp_path / "c.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in network.body.state_dict().items())


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"fc6.weight": torch.zeros(2), "more": Malicious()}, "holds code beside tensors, which is not run here"),
        (nn.Linear(2, 2), "holds code beside tensors, which is not run here"),
        ([torch.zeros(2)], "is no state dict"),
        ({"fc6.weight": 3}, "is no state dict"),
    ],
)
def test_what_holds_more_than_tensors_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match=said) as caught:
        importing.read(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + b"nothing of use")
    with pytest.raises(InputError, match="get it again") as caught:
        importing.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_numbers_come_in_single_precision(tmp_path: Path) -> None:
    torch.save({"defc7.weight": torch.ones(2, 2).half()}, tmp_path / "x.pt")
    read: Tensor = torch_layouts.load(tmp_path / "x.pt").blobs["defc7.weight"].read()
    assert read.dtype == torch.float32
