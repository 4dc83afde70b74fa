"""The facets of a unit: groups of unlike pictures that it answers to alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.networks.network import Network

COMPONENTS = 50  # principal components that t-SNE sees, as published
PERPLEXITY = 30.0  # of t-SNE, at most; the published one is not known


@dataclass(frozen=True)
class Facet:
    """A cluster of pictures, by their rows."""

    members: tuple[int, ...]
    nearest: tuple[int, ...]  # those nearest the centroid, nearest first


def penultimate(network: Network) -> str | None:
    """The last layer before the outputs, by name; None for a network whose layers cannot be read."""
    shapes = network.layer_shapes()
    return next((name for name, shape in reversed(shapes.items()) if shape[0] != network.classes), None)


@torch.no_grad()
def features(network: Network, batches: Iterable[Tensor], layer: str | None = None) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], batch by batch -> activations (N, D) of a layer, averaged over positions.

    Without `layer` they are those of the network's outputs. Raises `InputError` for an unknown layer.
    """
    read = [network(images) if layer is None else network.features(images, [layer])[layer] for images in batches]
    return torch.cat([values.flatten(2).mean(2) if values.dim() > 2 else values for values in read])


def find(features: Tensor, k: int = 10, nearest: int = 15, seed: int = 0) -> list[Facet]:
    """Features (N, D) -> `k` facets, the largest first, each with its up to `nearest` rows next to the centroid.

    PCA to 50 dimensions, t-SNE to 2, k-means there. Raises `InputError` for fewer than 2k pictures and where
    scikit-learn is not installed.
    Source: Multifaceted Feature Visualization (Nguyen et al. 2016, arXiv 1602.03616), algorithm 1.
    """
    try:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise InputError("facets need scikit-learn: pip install 'ppgn[facets]'") from error
    count = len(features)
    if k < 1 or nearest < 1 or count < max(2 * k, 4):
        raise InputError(f"{count} pictures for k={k} facets; expected {max(2 * k, 4)} or more, or a smaller k")
    reduced = PCA(min(COMPONENTS, *features.shape), random_state=seed).fit_transform(features.double().cpu().numpy())
    tsne = TSNE(2, perplexity=min(PERPLEXITY, (count - 1) / 3), init="pca", random_state=seed)
    plane = tsne.fit_transform(reduced)
    clusters = KMeans(k, n_init=10, random_state=seed).fit(plane)
    distance = ((plane - clusters.cluster_centers_[clusters.labels_]) ** 2).sum(1)
    found = []
    for cluster in range(k):
        members = [row for row in range(count) if clusters.labels_[row] == cluster]
        ordered = sorted(members, key=lambda row: float(distance[row]))
        found.append(Facet(tuple(members), tuple(ordered[:nearest])))
    return sorted(found, key=lambda facet: -len(facet.members))
