"""How much samples of one class differ from each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError

BLOCK = 1024  # rows in double precision at once


def paired(x: Tensor, y: Tensor) -> Tensor:
    """1 − cos between the rows of features x and y (N, D), (N,) float64."""
    return 1 - F.cosine_similarity(x.double(), y.double())


def within_class(features: Tensor, classes: Sequence[int]) -> Tensor:
    """Mean cosine distance of two different rows of one class, (C,) in ascending order; NaN for a class of one row."""
    total, count, own = _prepared(features, classes)
    return 1 - (total.square().sum(1) - own) / (count * (count - 1))


def between_classes(features: Tensor, classes: Sequence[int]) -> Tensor:
    """Mean cosine distance from the rows of one class to those of all others, (C,) in ascending order; NaN if alone."""
    total, count, _ = _prepared(features, classes)
    return 1 - (total * (total.sum(0) - total)).sum(1) / (count * (count.sum() - count))


def _prepared(features: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of every class of features (N, D), in float64: the sum of the rows at length 1, their number, their squares.

    The cosines of all pairs add up to the square of that sum, so that no pair has to be looked at.
    """
    index = torch.as_tensor(classes)
    if len(index) != len(features):
        raise InputError(f"{len(features)} rows of features have {len(index)} classes; give one for each")
    present, place = index.unique(return_inverse=True)
    total = torch.zeros(len(present), features.shape[1], dtype=torch.float64)
    own = torch.zeros(len(present), dtype=torch.float64)
    for rows, groups in zip(features.split(BLOCK), place.split(BLOCK), strict=True):
        unit = F.normalize(rows.double(), dim=1)
        total.index_add_(0, groups, unit)
        own.index_add_(0, groups, unit.square().sum(1))
    return total, place.bincount().double(), own
