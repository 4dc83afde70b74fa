"""Every embedding keeps groups apart; one whose library is missing says what to install."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppgn.errors import InputError
from ppgn.visualize.embedding import check, embed

LIBRARIES = {"tsne": "sklearn", "opentsne": "openTSNE"}


@pytest.mark.parametrize("embedding", ["tsne", "opentsne"])
def test_groups_stay_apart_and_points_are_repeatable(embedding: str) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    pytest.importorskip(LIBRARIES[embedding], reason="the embedding is not installed")
    rows = torch.randn(40, 60, generator=torch.Generator().manual_seed(0))
    rows[20:, 0] += 40
    points = embed(rows, embedding)
    assert points.shape == (40, 2)
    centres = points[:20].mean(0), points[20:].mean(0)
    spread = max(np.linalg.norm(part - part.mean(0), axis=1).mean() for part in (points[:20], points[20:]))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    assert np.array_equal(embed(rows, embedding), points)


def test_umap_sees_reduced_rows_of_unit_length(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")

    class UMAP:  # the real one takes a minute to compile
        def __init__(self, n_neighbors: int, **settings: object) -> None:
            assert n_neighbors == 7
            assert settings == {"init": "pca", "random_state": 3, "n_jobs": 1}

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            assert rows.shape == (8, 5)
            assert np.abs(rows).max() <= 2
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert np.allclose(embed(rows, "umap", 3), embed(100 * rows, "umap", 3), atol=1e-5)


def test_features_that_are_alike_are_refused() -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    with pytest.raises(InputError, match="alike"):
        embed(torch.ones(8, 5) * torch.arange(1, 9)[:, None])


def test_unknown_and_missing_ones_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    with pytest.raises(InputError, match="umap"):
        check("umpa")
    for name, package in (("umap", "umap-learn"), ("openTSNE", "openTSNE")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=f"pip install {package}"):
            check(name.lower())
