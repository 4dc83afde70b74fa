"""Whether visualisations tell the truth: are the groups that were found those that were planted, and drawn as such?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError, library


def adjusted_rand_index(found: Sequence[int], planted: Sequence[int]) -> float:
    """How well two groupings of the same things agree: 1 is wholly, 0 as by chance.

    Raises `InputError` without scikit-learn, and for groupings of different lengths.
    Source: Hubert and Arabie 1985.
    """
    metrics = library("sklearn.metrics", "the adjusted Rand index needs scikit-learn", "facets")
    if len(found) != len(planted):
        raise InputError(f"groupings of {len(found)} and of {len(planted)} things; expected the same things")
    return float(metrics.adjusted_rand_score(planted, found))


def facet_match(drawn: Tensor, pictures: Sequence[Tensor]) -> Tensor:
    """Whether each drawing of a facet is nearest to the mean of that facet's own pictures, (K, S), boolean.

    drawn: features (K, S, D) of S drawings of each of K facets, by a network that took no part; pictures: those of
    every facet's pictures, (N, D) each. Distances are cosine's. Chance is 1 / K.
    """
    centres = torch.stack([F.normalize(one, dim=1).mean(0) for one in pictures])
    likeness = F.normalize(drawn, dim=2) @ F.normalize(centres, dim=1).T
    own = torch.arange(len(drawn), device=drawn.device)[:, None]
    return likeness.argmax(2) == own
