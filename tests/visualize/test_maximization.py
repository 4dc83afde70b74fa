"""Every method excites the unit, a seed's image is its own, all cost the same, and the files say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppgn
from ppgn.errors import InputError
from ppgn.networks.network import Network
from ppgn.samplers.noise import Noise
from ppgn.visualize.maximization import ALL, Ascent, Climb, methods
from ppgn.visualize.parametrization import Pixels
from ppgn.visualize.subject import subject


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    np.save(folder / "val_images.npy", (np.random.default_rng(0).random((12, 32, 32, 3)) * 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize("name", sorted(methods()))
def test_a_method_climbs_counts_and_keeps_seeds_apart(net: Network, name: str) -> None:
    shown, counted = subject(2, network=net), []
    x = methods()[name](shown, Noise([0, 1]), 32, 24, counted.append)
    start = Pixels().start(Noise([0, 1]), 32)
    assert ((x >= 0) & (x <= 1)).all()
    assert sum(counted) == 24
    assert (shown(x) > shown(start)).all()
    assert torch.allclose(methods()[name](shown, Noise([1]), 32, 24, counted.append), x[1:], atol=1e-3)


def test_a_step_is_the_gradient_in_units_of_its_mean_size() -> None:
    g = torch.tensor([[1.0, -3.0], [0.0, 0.2]])
    assert torch.allclose(Ascent(0.1)(torch.zeros(2, 2), g), torch.tensor([[0.05, -0.15], [0.0, 0.2]]))


def test_operators_see_the_stepped_image_and_the_gradient_before_it(net: Network) -> None:
    seen: list[Any] = []

    def note(x: torch.Tensor, g: torch.Tensor, i: int) -> torch.Tensor:
        seen.append((x.clone(), g, i))
        return x + 10

    shown = subject(2, network=net)
    x = Climb(Pixels(), Ascent(0.01), operators=[note])(shown, Noise([0]), 32, 1, lambda looks: None)
    ((stepped, g, i),) = seen
    assert i == 0
    assert torch.allclose(stepped, Ascent(0.01)(Pixels().start(Noise([0]), 32), g))
    assert torch.equal(x, torch.ones_like(x))  # clipped behind the operators


def test_all_methods_side_by_side(net: Network, photos: Path, tiny: Path) -> None:
    given: dict[str, Any] = {"network": net, "layer": "0", "position": "mean", "data": photos, "side": 32}
    given |= {"model": tiny / "model.safetensors", "evaluations": 4, "device": "cpu", "seeds": [5, 2]}
    done = ppgn.maximize(3, batch_size=1, **given)
    assert list(done.drawn) == list(ALL)
    assert done.images.shape == (9, 2, 3, 32, 32)
    assert [row["seed"] for row in done.rows[:2]] == [5, 2]
    one = ppgn.maximize(3, method="patches", **given | {"seeds": 2})
    assert (one.drawn["patches"][0].int() - done.drawn["patches"][1].int()).abs().max() <= 1
    row = done.rows[-1]
    below = (done.compared < row["activation"]).double().mean().item()  # type: ignore[operator]
    assert row["percentile"] == pytest.approx(100 * below, abs=0.01)


def test_files_say_what_was_done_and_are_not_replaced_unasked(net: Network, tmp_path: Path) -> None:
    given: dict[str, Any] = {"network": net, "side": 32, "evaluations": 2, "seeds": "0-1", "device": "cpu"}
    done = ppgn.maximize(1, method=["pixels", "lucid"], out=tmp_path / "o", **given)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"grid.png", "images", "report.json", "config.yaml"}
    assert len([*(tmp_path / "o" / "images").iterdir()]) == 4
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["images"] == done.rows
    assert report["activation"] == done.scale == "the logit of the class"
    with pytest.raises(InputError, match="overwrite"):
        ppgn.maximize(1, method="pixels", out=tmp_path / "o", **given)
    ppgn.maximize(1, method="pixels", out=tmp_path / "o", overwrite=True, **given)
    assert len([*(tmp_path / "o" / "images").iterdir()]) == 2
    with pytest.raises(InputError, match="folder"):
        ppgn.maximize(1, method="pixels", **given).save()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "luzid"}, "lucid"),
        ({"method": "patches"}, "data=FOLDER"),
        ({"evaluations": 1}, "evaluations"),
        ({"side": 8}, "side"),
        ({"unit": 3}, "3"),
        ({"layer": "9"}, "layer"),
    ],
)
def test_refuses_in_words(net: Network, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ppgn.maximize(**{"unit": 1, "network": net, "device": "cpu"} | given)
