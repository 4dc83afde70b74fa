"""Features as points of a plane, where alike ones are near."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError, library, unknown

COMPONENTS = 50  # principal components that an embedding sees, as published
PERPLEXITY = 30.0  # of t-SNE, at most; the published one is not known
ALIKE = 1e-6  # the spread of features of unit length below which there is nothing to group
NEIGHBOURS = 15  # of UMAP, at most
EMBEDDINGS = ("tsne", "umap", "opentsne")


def check(embedding: str) -> None:
    """Raise `InputError` for an unknown embedding, and for one whose library is not installed."""
    if embedding not in EMBEDDINGS:
        raise unknown("embedding", str(embedding), EMBEDDINGS)
    library("sklearn.decomposition", "facets need scikit-learn", "facets")
    if embedding != "tsne":
        module = {"umap": "umap", "opentsne": "openTSNE"}[embedding]
        library(module, f"embedding={embedding} needs {module}", "embeddings")


def embed(features: Tensor, embedding: str = "tsne", seed: int = 0) -> np.ndarray:
    """Features (N, D) -> points (N, 2): rows of unit length, PCA to 50 dimensions, then t-SNE or UMAP.

    t-SNE is scikit-learn's or openTSNE's. Unit length, which the paper has not, tells planted groups apart better.
    Raises `InputError` as `check` does, and for features that are all alike.
    """
    check(embedding)
    from sklearn.decomposition import PCA

    rows = F.normalize(features.double().cpu(), dim=1).numpy()
    reduced = PCA(min(COMPONENTS, *rows.shape), random_state=seed).fit_transform(rows)
    if reduced[:, 0].std() < ALIKE:
        raise InputError("the pictures' features are all alike; give other pictures, or another layer")
    perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
    if embedding == "umap":
        from umap import UMAP

        neighbours = min(NEIGHBOURS, len(reduced) - 1)
        points = UMAP(n_components=2, n_neighbors=neighbours, init="pca", random_state=seed, n_jobs=1).fit_transform(
            reduced
        )
    elif embedding == "opentsne":
        import openTSNE

        points = openTSNE.TSNE(2, perplexity=perplexity, initialization="pca", random_state=seed).fit(reduced)
    else:
        from sklearn.manifold import TSNE

        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(points, dtype=np.float64)
