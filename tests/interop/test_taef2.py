"""TAEF2's module against its published shapes, and a model of its files with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppgn
from ppgn.errors import InputError
from ppgn.interop import taef2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("taef2")
    torch.manual_seed(0)
    for name, part in zip(taef2.FILES, (taef2.Encoder(), taef2.Decoder()), strict=True):
        torch.save(part.half().state_dict(), place / name)
    return place


def test_it_has_the_published_parameters() -> None:
    sizes = [sum(p.numel() for p in part.parameters()) for part in (taef2.Encoder(), taef2.Decoder())]
    assert sizes == [1_338_528, 1_338_499]
    names = [len(part.state_dict()) for part in (taef2.Encoder(), taef2.Decoder())]
    assert names == [79, 79]
    assert "11.pool.3.weight" in taef2.Encoder().state_dict()
    assert {"3.pool.1.bias", "19.weight"} <= taef2.Decoder().state_dict().keys()


def test_a_folder_of_its_files_is_a_model(folder: Path, tmp_path: Path) -> None:
    net, x = taef2.load(folder, size=32), torch.rand(2, 3, 32, 32)
    assert net.encode(x).shape == (2, 32, 4, 4)
    assert net.decode(net.encode(x)).shape == x.shape
    net.save(tmp_path / "model.safetensors")
    assert torch.equal(ppgn.load(tmp_path / "model.safetensors").encode(x), net.encode(x))
    assert ppgn.load(folder).generator.signal_shape == (3, 128, 128)


def test_codes_beyond_three_are_drawn_in() -> None:
    decoder, h = taef2.Decoder(16).eval(), 1000 * torch.ones(1, 32, 2, 2)
    torch.testing.assert_close(decoder(h), decoder(2 * h))


def test_what_is_no_such_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        taef2.load(tmp_path)
    with pytest.raises(InputError, match="multiple of 8"):
        taef2.load(folder, size=100)
    for name in taef2.FILES:
        torch.save({"0.weight": torch.zeros(3)}, tmp_path / name)
    with pytest.raises(InputError, match="does not hold the weights"):
        taef2.load(tmp_path)
