"""Every method keeps the contract of an attribution, on every kind of network that a unit may be in."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ppgn
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.attribution import METHODS, check, shown
from ppgn.visualize.subject import units

SIDE = 16
OURS = ("deconvnet", "guided", "gradient")


def convolutional(rectifier: type[nn.Module] = nn.ReLU6) -> Network:
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 6, 3, padding=1), rectifier(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), rectifier()]
    body = nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return Network(body, Preprocessing(SIDE, std=(0.1,)), name="net", labels=["cat, puss", "dog", "cow", "pig"])


class Tokens(nn.Module):
    """Patches of 4 pixels as tokens that attend to each other, behind one of the class."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(3, 8, 4, 4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        seen = self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1))
        return self.head(seen[:, 0])


def one(network: Network, layer: str | None, unit: int | str, position: str = "max") -> Unit:
    return units(network, layer, unit, position, torch.device("cpu"))[0]


KINDS = {
    "channel": lambda: one(convolutional(), "4", 2),
    "output": lambda: one(convolutional(nn.ReLU), None, "dog"),
    "token": lambda: one(Network(Tokens(), Preprocessing(SIDE), name="tokens"), "block", 3),
}


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_contract(method: str, kind: str, image: Tensor) -> None:
    if method not in OURS:
        pytest.importorskip("captum", reason="the extra toolbox is not installed")
    unit = KINDS[kind]()
    before, given = deepcopy(unit.state_dict()), image.clone()
    random = torch.get_rng_state()
    if kind == "token" and method in ("deconvnet", "guided"):
        with pytest.raises(InputError, match=r"relu|no rectifiers"):  # a functional one, which PyTorch 2.4 shows nobody
            METHODS[method](unit, image, 0)
        return
    seen = METHODS[method](unit, image, 0)
    assert seen.shape == image.shape
    assert seen.dtype == image.dtype
    assert not seen.requires_grad
    assert seen.isfinite().all()
    assert seen.abs().sum() > 0
    assert torch.equal(METHODS[method](unit, image, 0), seen)
    assert torch.equal(image, given)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in unit.state_dict().items())


def test_what_cannot_reach_the_unit_has_no_part(image: Tensor) -> None:
    pytest.importorskip("captum", reason="the extra toolbox is not installed")
    unit = units(convolutional(), "0", 1, [2, 3], torch.device("cpu"))[0]
    for name in ("gradient", "smoothgrad", "integrated"):
        seen = METHODS[name](unit, image, 0)[0].abs().sum(0)
        assert (seen[1:4, 2:5] > 0).all()
        assert seen.sum() == seen[1:4, 2:5].sum()


def test_occlusion_is_the_drop_where_the_square_lies() -> None:
    pytest.importorskip("captum", reason="the extra toolbox is not installed")
    body = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    unit = units(Network(body, Preprocessing(SIDE), name="pixels"), "0", 1, [4, 6], torch.device("cpu"))[0]
    image = torch.full((1, 3, SIDE, SIDE), 0.9)
    seen = METHODS["occlusion"](unit, image, 0)[0]
    assert seen[1, 4, 6] == pytest.approx(0.4)
    assert seen[:, 8:].abs().sum() == 0


def test_a_map_of_the_unit_beats_random_pixels(image: Tensor) -> None:
    unit = one(convolutional(), "4", 2)
    found = check(unit, image, METHODS["gradient"](unit, image, 0), "gradient")
    assert found["deletion"] is not None
    assert found["random"] is not None
    assert found["randomised"] is not None
    assert found["deletion"] > found["random"]
    assert -0.5 < found["randomised"] < 0.9


def test_zero_is_grey_and_a_few_large_values_do_not_take_the_contrast() -> None:
    seen = torch.zeros(3, 10, 10)
    seen[0, :5], seen[1, :5], seen[2, 0, 0] = 1.0, -1.0, 100.0
    picture = shown(seen)
    assert picture[2, 9, 9] == 0.5
    assert picture[0, 0, 0] == 1
    assert picture[1, 0, 0] == 0
    assert (shown(torch.zeros(3, 4, 4)) == 0.5).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unit": 8, "layer": "4"}, "from 0 to 7"),
        ({"unit": 1, "layer": "44"}, "unknown layer"),
        ({"unit": "horse"}, "horse"),
        ({"unit": None}, "unit is missing"),
        ({"unit": 1, "layer": "4", "position": [9, 9]}, "outside"),
        ({"unit": 1, "layer": "4", "method": "deconvent"}, "deconvnet"),
        ({"unit": 1, "layer": "4", "method": 1.5}, "method=1.5"),
        ({"unit": 1, "layer": "4", "position": None}, "position"),
        ({"unit": 1, "layer": "4", "seed": -1}, "seed=-1"),
        ({"unit": 1, "layer": "4", "method": []}, "names"),
    ],
)
def test_refuses(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ppgn.deconv(torch.rand(3, 20, 30), network=convolutional(), device="cpu", **given)  # type: ignore[arg-type]


def test_a_row_per_unit_a_map_per_method(tmp_path: Path) -> None:
    images.write(tmp_path / "photo.png", torch.rand(3, 20, 30))
    options = {"network": convolutional(), "layer": "4", "method": ["gradient", "guided"], "device": "cpu"}
    done = ppgn.deconv(tmp_path / "photo.png", [2, 5], **options, out=tmp_path / "o")
    assert set(done.maps) == {(f"unit {unit}", name) for unit in (2, 5) for name in ("gradient", "guided")}
    assert {file.name for file in (tmp_path / "o").iterdir()} == {
        "grid.png",
        "maps.safetensors",
        "report.json",
        "config.yaml",
    }
    with pytest.raises(InputError, match="overwrite"):
        ppgn.deconv(tmp_path / "photo.png", 2, **options, out=tmp_path / "o")
    ppgn.deconv(tmp_path / "photo.png", 2, **options, out=tmp_path / "o", overwrite=True)
    assert len(json.loads((tmp_path / "o/report.json").read_text())["maps"]) == 2
    assert done.grid().width == 3 * 226 + 2
    alone = ppgn.deconv(tmp_path / "photo.png", 5, **options)
    assert torch.equal(alone.maps["unit 5", "guided"], done.maps["unit 5", "guided"])
    with pytest.raises(InputError, match="folder"):
        alone.save()
