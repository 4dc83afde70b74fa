"""Facets are the groups that are there, and the layer they are sought in is the one before the outputs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ppgn
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.networks import own
from ppgn.networks.network import Network, Preprocessing
from ppgn.visualize.facets import clusters, facets, features, find, penultimate


def groups(*sizes: int) -> torch.Tensor:
    """Groups of rows around distant points of 60 dimensions."""
    draw = torch.Generator().manual_seed(0)
    centres = 20 * torch.eye(60)[: len(sizes)]
    return torch.cat(
        [centre + 0.1 * torch.randn(n, 60, generator=draw) for n, centre in zip(sizes, centres, strict=True)]
    )


def test_facets_are_the_groups_the_largest_first() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    found = find(groups(12, 30, 20), k=3, nearest=15)
    assert [set(facet.members) for facet in found] == [set(range(12, 42)), set(range(42, 62)), set(range(12))]
    assert [len(facet.nearest) for facet in found] == [15, 15, 12]
    assert all(set(facet.nearest) <= set(facet.members) for facet in found)
    assert find(groups(12, 30, 20), k=3, nearest=15) == found


def test_the_nearest_are_those_next_to_the_centre_nearest_first() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    left = np.array([[-3.0, 0], [1, 0], [0, 0.5], [2.1, 0], [0, -0.4]])  # around (0.02, 0.02)
    found = clusters(np.concatenate([left, left[:3] / 10 + 50]), k=2, nearest=3)
    assert found[0].members == (0, 1, 2, 3, 4)
    assert found[0].nearest == (4, 2, 1)


def test_too_few_pictures_are_refused() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    with pytest.raises(InputError, match="19 pictures for k=10"):
        find(groups(19), k=10)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(InputError, match=r"pip install 'ppgn\[facets\]'"):
        find(groups(20), k=2)
    with pytest.raises(InputError, match="pip install"):  # before anything is looked for
        facets(1, "nowhere")


def test_the_penultimate_layer_and_its_mean_over_positions() -> None:
    conv, fc = nn.Conv2d(3, 4, 2), nn.Linear(4, 5)
    body = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
    network = Network(body, Preprocessing(size=6), name="small")
    assert penultimate(network) == "3"
    x = torch.rand(3, 3, 6, 6)
    expected = conv(x).relu().mean((2, 3))
    torch.testing.assert_close(features(network, x.split(2), "3"), expected)
    torch.testing.assert_close(features(network, x.split(2), "1"), expected)
    torch.testing.assert_close(features(network, [x]), fc(expected))


def test_samples_by_facet_a_short_repr_and_files_only_when_saved(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    for number in range(8):
        images.write(tmp_path / f"pictures/{number}.png", number % 2 * 0.9 + 0.1 * torch.rand(3, 16, 16))
    condition = {"expression": "torchscript", "path": str(tiny / "classifier.ts"), "size": 16}
    settings: dict[str, Any] = {"condition": condition, "model": ppgn.load(tiny / "model.safetensors"), "steps": 2}
    found = facets(1, tmp_path / "pictures", k=2, nearest=3, seeds=[4, 7, 9], **settings)
    assert len(found) == 2
    assert (found.images.shape, found.codes.shape) == ((2, 3, 3, 16, 16), (2, 3, 8))
    assert torch.equal(found.images[1], found.samples.images[3:])
    assert found.config["prior"] == "gaussian"  # what suits the sampler, of those that the tiny model has
    assert len(repr(found)) < 100
    with pytest.raises(InputError, match="folder"):
        found.save()
    found.save(tmp_path / "o")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "config.yaml",
        "facets.json",
        "grid.png",
        "samples.safetensors",
    }


@pytest.mark.parametrize("method", ["mfv", "spread"])
def test_facets_are_drawn_in_other_ways(tiny: Path, tmp_path: Path, method: str) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    for number in range(8):
        images.write(tmp_path / f"pictures/{number}.png", number % 2 * 0.8 + 0.1 * torch.rand(3, 16, 16))
    condition = {"expression": "torchscript", "path": str(tiny / "classifier.ts"), "size": 16}
    settings: dict[str, Any] = {"condition": condition, "model": tiny / "model.safetensors", "steps": 2, "side": 16}
    settings |= {"k": 2, "nearest": 3, "seeds": [4, 7], "method": method, "evaluations": 6, "drawings": 9}
    found = facets(1, None if method == "spread" else tmp_path / "pictures", **settings, out=tmp_path / "o")
    assert found.images.shape == (2, 2, 3, 16, 16)
    assert sum(len(facet.members) for facet in found.found) == {"mfv": 8, "spread": 9}[method]
    assert found.names[0][0].startswith("drawing" if method == "spread" else str(tmp_path))
    if method == "mfv":  # from the mean picture it stays on its side of the brightness
        means = found.images.float().mean((1, 2, 3, 4))
        starts = torch.tensor([near.float().mean() for near in found.pictures])
        assert (means[0] < means[1]) == (starts[0] < starts[1])
    again = facets(1, None if method == "spread" else tmp_path / "pictures", **settings | {"seeds": 7})
    assert torch.equal(again.images[:, 0], found.images[:, 1])


def test_a_hidden_unit_s_pictures_are_what_it_sees(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    for number in range(9):
        images.write(tmp_path / f"pictures/{number}.png", torch.rand(3, 1, 1).expand(-1, 16, 16))
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    unit = Unit(own.load(body, 16), "0", 2)
    found = facets(
        2,
        tmp_path / "pictures",
        condition=unit,
        k=2,
        nearest=2,
        highest=5,
        seeds=0,
        steps=1,
        model=tiny / "model.safetensors",
    )
    assert sum(len(facet.members) for facet in found.found) == 5
    assert found.pictures[0].shape[1:] == (3, 16, 16)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "mvf"}, "mfv"),
        ({"embedding": "tsnee"}, "tsne"),
        ({"schedule": "line"}, "linear"),
        ({"photographs": None}, "spread"),
        ({"evaluations": 0}, "evaluations"),
    ],
)
def test_refuses_in_words(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    with pytest.raises(InputError, match=words):
        facets(**{"target": 1, "photographs": tmp_path} | given)
