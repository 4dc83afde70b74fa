"""An inversion has the layer's features, the objective is the published one, and the files say what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgn
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.networks import own
from ppgn.networks.network import Network
from ppgn.visualize.inversion import ALPHA, METHODS, NORM, Objective, decoded, descend, noise
from ppgn.visualize.regularization import MEAN, total_variation


@pytest.fixture
def photo() -> Tensor:
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(small, (16, 16), mode="bilinear")


def options(net: Network, tiny: Path) -> dict[str, Any]:
    return {"network": net, "model": tiny / "model.safetensors", "device": "cpu", "steps": 8}


def test_the_objective_is_the_published_sum(net: Network, photo: Tensor) -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    wanted, said = (net.features(of, ["1"])["1"] for of in (photo, x))
    error = (said - wanted).square().sum() / wanted.square().sum()
    natural = 5 / 2 * total_variation(x) + ALPHA / 2 * (x - MEAN).pow(6).sum()
    made = Objective(net, "1", photo, tv=5)
    assert made.error(x).item() == pytest.approx(error.item())
    assert made(x).item() == pytest.approx((error + natural / (NORM**2 * 3 * 16 * 16)).item())
    assert made.error(photo).item() == 0


def test_deeper_layers_get_more_total_variation(photo: Tensor) -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 2, 2), nn.Flatten(), nn.Linear(4, 3)
    )
    seen = own.load(body, 32)
    assert [Objective(seen, name, photo).tv for name in ("0", "1", "2", "4")] == [1, 10, 100, 100]


def test_noise_has_the_norm_of_a_typical_image_and_a_seed_its_own() -> None:
    both = noise(16, [3, 4], torch.device("cpu"))
    assert torch.allclose((both - MEAN).square().mean((1, 2, 3)), torch.tensor(NORM**2))
    assert torch.equal(noise(16, [4], torch.device("cpu"))[0], both[1])


def test_descent_lowers_the_objective_of_each_image_for_itself(net: Network, photo: Tensor) -> None:
    start = noise(16, [0, 1], torch.device("cpu"))
    down = Objective(net, "1", photo)
    x = descend(down, start, 20)
    assert (down(x) < 0.5 * down(start)).all()
    assert torch.allclose(descend(down, start[1:], 20), x[1:], atol=1e-4)


def test_decoder_is_the_generator_behind_the_encoder_at_any_size(tiny: Path, photo: Tensor) -> None:
    model = ppgn.load(tiny / "model.safetensors")
    assert torch.equal(decoded(model, photo), model.decode(model.encode(photo)))
    assert decoded(model, torch.rand(2, 3, 40, 40)).shape == (2, 3, 40, 40)


def test_all_methods_and_layers_side_by_side(net: Network, tiny: Path, photo: Tensor, tmp_path: Path) -> None:
    done = ppgn.invert(photo[0], ["1", 4], method="all", out=tmp_path / "o", **options(net, tiny))
    assert list(done.images) == [(layer, method) for layer in ("1", "4") for method in METHODS]
    assert torch.equal(done.images["1", "decoder"], done.images["4", "decoder"])
    errors = {(row["layer"], row["method"]): row["error"] for row in done.rows}
    assert errors["1", "both"] < errors["1", "decoder"]
    x = done.images["4", "both"][None] / 255
    assert errors["4", "both"] == pytest.approx(Objective(net, "4", done.picture[None] / 255).error(x).item())
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"grid.png", "images", "report.json", "config.yaml"}
    assert json.loads((tmp_path / "o" / "report.json").read_text())["images"] == done.rows
    written = images.to_uint8(images.read(tmp_path / "o" / "images" / "1-both.png"))
    assert torch.equal(written, done.images["1", "both"])
    alone = ppgn.invert(photo[0], "1", **options(net, tiny))  # both is the default
    assert torch.equal(alone.images["1", "both"], done.images["1", "both"])
    with pytest.raises(InputError, match="overwrite"):
        ppgn.invert(photo[0], "1", out=tmp_path / "o", **options(net, tiny))
    with pytest.raises(InputError, match="folder"):
        alone.save()


def test_without_a_decoder_no_model_is_needed(net: Network) -> None:
    photo = torch.rand(3, 20, 24)
    done = ppgn.invert(photo, "0", network=net, method="regularised", model="none", steps=2, device="cpu")
    assert done.picture.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "9"}, "layer"),
        ({"layer": []}, "list of names"),
        ({"method": "adjoint"}, "regularised"),
        ({"steps": 0}, "steps"),
        ({"side": 4}, "side"),
        ({"side": 10**6}, "side"),
        ({"image": torch.zeros(1, 3, 8, 8)}, "shape"),
        ({"model": None}, "model"),
        ({"rate": -1}, "rate"),
        ({"tv": float("nan")}, "tv"),
        ({"model": "digits"}, "pictures"),
        ({"model": "ppgn.generators.identity:Identity"}, "no encoder"),
    ],
)
def test_refuses_in_words(net: Network, tiny: Path, photo: Tensor, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ppgn.invert(**{"image": photo[0], "layer": "1"} | options(net, tiny) | given)


def test_a_silent_layer_is_refused(photo: Tensor) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3), nn.Threshold(1e9, 0))
    with pytest.raises(InputError, match="zeros"):
        ppgn.invert(photo[0], "2", network=own.load(body, 16), method="regularised", device="cpu")
