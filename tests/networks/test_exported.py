"""Files of torch.export: any number of images, or one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.networks import exported, own


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).relu().mean((2, 3)))
        return out


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).mean((2, 3))


def raise_(program: torch.export.ExportedProgram) -> None:
    raise RuntimeError("of an older version. More words")


def save(module: nn.Module, path: Path, *inputs: Tensor, **settings: Any) -> Path:
    torch.export.save(torch.export.export(module.eval(), inputs, **settings), path)
    return path


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_is_the_network_that_was_exported(tmp_path: Path, count: int) -> None:
    torch.manual_seed(0)
    small = Small().eval()
    dynamic: Any = {} if count == 1 else {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    network = own.load(save(small, tmp_path / "small.pt2", torch.zeros(count, 3, 16, 16), **dynamic))
    assert (network.name, network.preprocessing.size, network.classes) == ("small", 16, 5)
    x = torch.rand(3, 3, 16, 16, requires_grad=True)
    torch.testing.assert_close(network(x), small(x))
    own_gradient, gradient = (torch.autograd.grad(one(x)[:, 2].sum(), x)[0] for one in (network, small))
    torch.testing.assert_close(own_gradient, gradient)
    assert network.layer_shapes()["conv"] == (4, 14, 14)
    torch.testing.assert_close(Unit(network, "conv", 1, position=[2, 3]).activations(x), small.conv(x)[:, :, 2, 3])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        exported.load(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("no network")
    with pytest.raises(InputError, match=r"not a file of torch\.export"):
        exported.load(tmp_path / "text.pt2")
    images = torch.zeros(2, 3, 16, 16)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.export, "unflatten", raise_)
        with pytest.raises(InputError, match=r"cannot take its modules apart .* save it with torch\.jit\.save"):
            exported.load(save(Small(), tmp_path / "small.pt2", torch.zeros(1, 3, 16, 16)))
    with pytest.raises(InputError, match=r"takes 2 inputs \(x, y\)"):
        exported.load(save(Two(), tmp_path / "two.pt2", images, images))
    with pytest.raises(InputError, match="takes exactly 2 images; export it with dynamic_shapes"):
        exported.load(save(Small(), tmp_path / "fixed.pt2", images))
