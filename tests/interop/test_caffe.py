from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.interop import caffe
from tests.interop import written
from tests.interop.written import Layer, caffemodel, field

ONE: list[Layer] = [
    ("conv1", "Convolution", "data", [torch.randn(4, 3, 2, 2), torch.randn(4)]),
    ("ip", "InnerProduct", "conv1", [torch.randn(6, 5), torch.randn(6)]),
]
GENERATIONS = ("V0", "V1", "V2")


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("packed", "double"), [(True, False), (False, False), (True, True), (False, True)])
def test_all_layer_lists_and_forms_of_numbers_are_read_exactly(
    tmp_path: Path, generation: str, packed: bool, double: bool
) -> None:
    source = caffe.load(caffemodel(tmp_path / "n", ONE, generation, "Net", packed, double))
    assert (source.net, source.layers) == ("Net", ["conv1", "ip"])
    assert source.kinds == {"conv1": "Convolution", "ip": "InnerProduct"}
    assert source.inputs == {"conv1": ("data",), "ip": ("conv1",)}
    for name, _, _, (weight, bias) in ONE:
        for key, value in (("weight", weight), ("bias", bias)):
            blob = source.blobs[f"{name}.{key}"]
            assert blob.fits(tuple(value.shape))
            assert torch.equal(blob.read().view(value.shape), value)


def test_a_third_blob_has_a_number_and_a_legacy_shape_wins(tmp_path: Path) -> None:
    values = [torch.randn(8, 2), torch.randn(8), torch.randn(8, 3), torch.randn(8, 2)]
    source = caffe.load(caffemodel(tmp_path / "n", [("lstm2", "LSTM", "x", values)]))
    assert list(source.blobs) == ["lstm2.weight", "lstm2.bias", "lstm2.2", "lstm2.3"]
    numbers = torch.arange(6.0).numpy().tobytes()
    both = field(7, field(1, b"\x02\x03")) + b"".join(field(i, n) for i, n in enumerate((1, 1, 3, 2), 1))
    path = tmp_path / "both"
    path.write_bytes(field(100, field(1, "ip") + field(7, both + field(5, numbers) + field(6, numbers))))
    assert caffe.load(path).blobs["ip.weight"].shape == (1, 1, 3, 2)


def test_gradients_and_what_is_unknown_are_passed_over(tmp_path: Path) -> None:
    path = caffemodel(tmp_path / "n", ONE)
    unknown = field(103, 7) + field(8, b"\x00\xff") + written.varint(60 << 3 | 5) + b"abcd" + b"\x19" + b"12345678"
    path.write_bytes(unknown + path.read_bytes() + unknown)
    assert caffe.load(path).layers == ["conv1", "ip"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path, generation: str) -> None:
    path = caffemodel(tmp_path / "n", ONE[:1], generation)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match="is no whole caffemodel") as caught:
            caffe.load(path)
        assert "\n" not in str(caught.value)


def test_random_and_altered_bytes_are_refused_or_read_but_never_break(tmp_path: Path) -> None:
    rng = random.Random(0)
    path, outcomes = tmp_path / "n", set()
    for trial in range(300):
        whole = bytearray(caffemodel(path, ONE, rng.choice(GENERATIONS)).read_bytes())
        if trial % 3 == 0:
            whole = bytearray(rng.randbytes(rng.randrange(1, 400)))
        else:
            for _ in range(rng.randrange(1, 6)):
                whole[rng.randrange(len(whole) if trial % 3 == 1 else 60)] = rng.randrange(256)
        path.write_bytes(whole)
        try:
            for blob in caffe.load(path).blobs.values():
                assert isinstance(blob.read() if blob.shape else None, Tensor | None)
            outcomes.add("read")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it holds no layers with weights"),
        (b"name: 'CaffeNet'", "is no whole caffemodel"),
        (written.huge_length(), "reaches beyond the"),
        (field(100, field(1, "x") + written.huge_length(7)), "reaches beyond the"),
        (field(100, field(7, field(7, field(1, b"\xff\xff\xff\xff\x7f" * 2)))), "has 0 numbers for the shape"),
        (field(100, field(7, field(7, field(1, b"\x02" * 40)) + field(5, b"1234"))), "has 40 axes"),
        (field(100, field(7, field(5, b"12345"))), "numbers end in the middle"),
        (field(100, field(1, "x") + field(7, field(5, b"1234"))) * 2, "layer 'x' occurs twice"),
        (b"\x08" + b"\xff" * 20, "there is no number"),
        (b"\x08\x01" * 30, "it has more than 20 fields"),
        (b"\x89HDF\r\n\x1a\n", "is a caffemodel in HDF5, which is not read here; convert it in Caffe"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str) -> None:
    monkeypatch.setattr(caffe, "MOST_FIELDS", 20)
    path = tmp_path / "n"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        caffe.load(path)


def test_unpacked_numbers_count_as_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caffe, "MOST_FIELDS", 60)
    assert caffe.load(caffemodel(tmp_path / "n", ONE, packed=False)).layers == ["conv1", "ip"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        caffe.load(tmp_path / "none")
