"""Facets are the groups that are there, and the layer they are sought in is the one before the outputs."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from ppgn import facets
from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing


def groups(*sizes: int) -> torch.Tensor:
    """Groups of rows around distant points of 60 dimensions, the first row of each at its very centre."""
    draw = torch.Generator().manual_seed(0)
    centres = 20 * torch.eye(60)[: len(sizes)]
    return torch.cat(
        [centre + 0.1 * torch.randn(n, 60, generator=draw) for n, centre in zip(sizes, centres, strict=True)]
    )


def test_facets_are_the_groups_the_largest_first() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    found = facets.find(groups(12, 30, 20), k=3, nearest=15)
    assert [set(facet.members) for facet in found] == [set(range(12, 42)), set(range(42, 62)), set(range(12))]
    assert [len(facet.nearest) for facet in found] == [15, 15, 12]
    assert all(set(facet.nearest) <= set(facet.members) for facet in found)
    assert facets.find(groups(12, 30, 20), k=3, nearest=15) == found


def test_too_few_pictures_are_refused() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    with pytest.raises(InputError, match="19 pictures for k=10 facets; expected 20 or more, or a smaller k"):
        facets.find(groups(19), k=10)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(InputError, match=r"facets need scikit-learn: pip install 'ppgn\[facets\]'"):
        facets.find(groups(20), k=2)


def test_the_penultimate_layer_and_its_mean_over_positions() -> None:
    conv, fc = nn.Conv2d(3, 4, 2), nn.Linear(4, 5)
    body = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
    network = Network(body, Preprocessing(size=6), name="small")
    assert facets.penultimate(network) == "3"
    x = torch.rand(3, 3, 6, 6)
    expected = conv(x).relu().mean((2, 3))
    torch.testing.assert_close(facets.features(network, x.split(2), "3"), expected)
    torch.testing.assert_close(facets.features(network, x.split(2), "1"), expected)
    torch.testing.assert_close(facets.features(network, [x]), fc(expected))
