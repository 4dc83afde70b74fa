"""How much samples of one class differ from each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError


def paired(x: Tensor, y: Tensor) -> Tensor:
    """1 − cos between the rows of features x and y (N, D), (N,) float64."""
    return 1 - F.cosine_similarity(x.double(), y.double())


def within_class(features: Tensor, classes: Sequence[int]) -> Tensor:
    """Mean cosine distance of two different rows of one class, (C,) in ascending order; NaN for a class of one row."""
    distances, index, each = _prepared(features, classes)
    distances.fill_diagonal_(torch.nan)
    return torch.stack([distances[index == c][:, index == c].nanmean() for c in each])


def between_classes(features: Tensor, classes: Sequence[int]) -> Tensor:
    """Mean cosine distance from the rows of one class to those of all others, (C,) in ascending order; NaN if alone."""
    distances, index, each = _prepared(features, classes)
    return torch.stack([distances[index == c][:, index != c].mean() for c in each])


def _prepared(features: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """1 − cos of all pairs of features (N, D), (N, N) float64, the class of every row, and the classes there are."""
    index = torch.as_tensor(classes)
    if len(index) != len(features):
        raise InputError(f"{len(features)} rows of features have {len(index)} classes; give one for each")
    unit = F.normalize(features.double(), dim=1)
    return 1 - unit @ unit.T, index, index.unique()
