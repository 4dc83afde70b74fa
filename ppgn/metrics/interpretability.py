"""Whether visualisations tell the truth: of facets that were planted, and of photographs that were not shown."""

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


def likeness(queries: Tensor, shown: Tensor, centre: Tensor) -> Tensor:
    """s(q, E), (Q,): how like the pictures `shown`, (K, D), are to each query, (Q, D), on average.

    These are features by a network that took no part, whose mean over photographs is `centre`, (D,); the likeness is
    the cosine of what is left without it.
    """
    return (F.normalize(queries - centre, dim=1) @ F.normalize(shown - centre, dim=1).T).mean(1)


def machine_interpretability(high: Tensor, low: Tensor, alpha: float | None = None) -> Tensor:
    """How surely pictures tell what excites a unit from what does not, a number; 0.5 is chance, 1 always.

    high, (P,), and low, (M,): s(q, E⁺) of queries that excite the unit and of such as do not, or, with pictures E⁻ of
    what it does not like, s(q, E⁺) − s(q, E⁻). It is the mean over all pairs of σ(`alpha` Δ), Δ being how far a pair is
    apart, or without `alpha` the share of pairs the right way round, ties being half.

    Source: Zimmermann, Klindt and Brendel 2024 (NeurIPS), who pair each query with but one other.
    """
    apart = (high[:, None] - low).double()
    return (apart.sign() / 2 + 0.5 if alpha is None else (alpha * apart).sigmoid()).mean()
