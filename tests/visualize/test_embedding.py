"""Every embedding keeps groups apart; one whose library is missing says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ppgn.errors import InputError
from ppgn.visualize.embedding import EMBEDDINGS, check, embed

LIBRARIES = {"tsne": "sklearn", "umap": "umap", "opentsne": "openTSNE"}


@pytest.mark.parametrize("embedding", EMBEDDINGS)
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
