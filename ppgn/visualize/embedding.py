"""Features as points of a plane, where alike ones are near."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError, check_known, library

COMPONENTS = 50  # principal components that an embedding sees, as published
PERPLEXITY = 30.0  # of t-SNE, at most; the published one is not known
NEIGHBOURS = 15  # of UMAP, at most
ALIKE = 1e-6  # the spread of features of unit length below which there is nothing to group
EMBEDDINGS = ("tsne", "umap", "opentsne")
PACKAGES = {"umap": ("umap", "umap-learn"), "opentsne": ("openTSNE", "openTSNE")}  # modules, and what pip calls them


def check(embedding: str) -> Any:
    """The module of an embedding. Raises `InputError` for an unknown one, and where its library is not installed."""
    check_known("embedding", embedding, EMBEDDINGS)
    library("sklearn.decomposition", "facets need scikit-learn", "facets")
    module, package = PACKAGES.get(embedding, ("sklearn.manifold", "scikit-learn"))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"embedding={embedding} needs {package}: pip install {package}") from error


def embed(features: Tensor, embedding: str = "tsne", seed: int = 0) -> np.ndarray:
    """Features (N, D) -> points (N, 2): rows of unit length, PCA to 50 dimensions, then t-SNE or UMAP.

    t-SNE is scikit-learn's or openTSNE's. Unit length, which the paper has not, tells planted groups apart better.
    Raises `InputError` as `check` does, and for features that are all alike.
    """
    module = check(embedding)
    from sklearn.decomposition import PCA

    rows = F.normalize(features.double().cpu(), dim=1).numpy()
    reduced = PCA(min(COMPONENTS, *rows.shape), random_state=seed).fit_transform(rows)
    if reduced[:, 0].std() < ALIKE:
        raise InputError("the pictures' features are all alike; give other pictures, or another layer")
    perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
    if embedding == "umap":
        umap = module.UMAP(n_neighbors=min(NEIGHBOURS, len(reduced) - 1), init="pca", random_state=seed, n_jobs=1)
        points = umap.fit_transform(reduced)
    elif embedding == "opentsne":
        points = module.TSNE(2, perplexity=perplexity, initialization="pca", random_state=seed).fit(reduced)
    else:
        points = module.TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(points, dtype=np.float64)
