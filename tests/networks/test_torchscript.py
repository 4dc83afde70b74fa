from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks import torchscript


class Mean(nn.Module):
    """Logits are the mean colour, channel by channel: a classifier of red, green and blue."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.mean((2, 3))


def save(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return save(Mean(), tmp_path / "colours.ts")


def test_a_file_is_a_frozen_network_with_the_preprocessing_given(colours: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch's own deprecation is no news for the user
        network = torchscript.load(
            colours, ["red", "green", "blue"], size=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0)
        )
    x = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8).clone().requires_grad_()
    torch.testing.assert_close(network(x), torch.tensor([[2.0, 0.0, -1.0]]).expand(2, 3))
    (gradient,) = torch.autograd.grad(network(x)[:, 1].sum(), x)
    torch.testing.assert_close(gradient.sum((2, 3)), torch.tensor([[0.0, 8.0, 0.0]]).expand(2, 3))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.labels == ("red", "green", "blue")


def test_labels_may_be_absent_or_in_a_file(colours: Path, tmp_path: Path) -> None:
    assert torchscript.load(colours).labels is None
    assert torchscript.load(colours).classes == 3
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    assert torchscript.load(colours, tmp_path / "names.txt").labels == ("red", "green", "blue")


def test_bad_files_are_refused(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ts': no such file"):
        torchscript.load(tmp_path / "none.ts")
    (tmp_path / "text.ts").write_text("no network")
    with pytest.raises(InputError, match=r"text\.ts': not a TorchScript file"):
        torchscript.load(tmp_path / "text.ts")
    with pytest.raises(InputError, match="2 class names for the 3 outputs"):
        torchscript.load(colours, ["red", "green"])
    with pytest.raises(InputError, match=r"gives \(1, 3, 8, 8\) of torch.float32 for one image; expected logits"):
        torchscript.load(save(nn.Identity(), tmp_path / "same.ts"), size=8)
    with pytest.raises(InputError, match=r"does not take \(1, 3, 8, 8\): "):
        torchscript.load(save(nn.Conv2d(1, 2, 3), tmp_path / "grey.ts"), size=8)
    network = torchscript.load(colours)
    assert network.layers() == []
    with pytest.raises(InputError, match="a TorchScript's inner layers cannot be read"):
        network.features(torch.zeros(1, 3, 4, 4), ["fc"])


def test_a_published_classifier_of_places_passes_gradients_to_the_image(shared: Path) -> None:
    path = shared / "weights" / "places365_squeezenet.ts"
    if not path.is_file():
        pytest.skip(f"no {path}")
    network = torchscript.load(path, path.with_suffix(".json"))
    assert network.labels is not None
    x = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    index = network.labels.index("beach")
    (gradient,) = torch.autograd.grad(network(x)[0, index], x)
    assert len(network.labels) == 365
    assert gradient.abs().mean() > 1e-4
