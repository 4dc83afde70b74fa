"""A figure with its 95 % bootstrap interval (Efron 1979, percentile method)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 1000
LEVEL = 0.95
FLIPS = 10_000


@dataclass(frozen=True)
class Estimate:
    """A figure measured on all rows, and the ends of its interval; None for both where nothing was resampled."""

    value: float
    low: float | None = None
    high: float | None = None


def draws(count: int, seed: int = 0) -> Tensor:
    """How often each of `count` units is drawn in every resample, float64 (R, count); each row sums to `count`.

    R is 1000, but 0 for a single unit: nothing can be said of how others would vary.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (RESAMPLES if count > 1 else 0, count), generator=generator)
    ones = torch.ones(drawn.shape, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add_(1, drawn, ones)


def estimate(statistic: Callable[[Tensor], Tensor], weights: Tensor, *, centred: bool = False) -> Estimate:
    """The figure of all rows with its interval over `weights` (R, N), one resample a row, as `draws` gives them.

    `statistic` maps weights (R, N) of the N rows to values (R,). Resamples without a value (NaN) are left out.
    `centred` moves the interval so that the resamples' mean falls on the figure: for statistics that are biased by
    rows drawn more than once, as those that look at how rows spread are.
    """
    value = statistic(weights.new_ones(1, weights.shape[1])).item()
    if not len(weights):
        return Estimate(value)
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    values = statistic(weights).double()
    if centred:
        values = values - values.nanmean() + value
    low, high = values.nanquantile(ends).tolist()
    return Estimate(value, low, high)


def mean(values: Tensor, weights: Tensor | None = None, groups: Tensor | None = None) -> Estimate:
    """The mean of values (N,) with its interval, by default over resamples of the rows themselves.

    groups: of each row its column of `weights` (R, G), where these draw whole groups; by default a column is a row.
    """
    weights = draws(len(values)) if weights is None else weights
    total = summed(values.double(), groups, weights.shape[1])
    count = summed(torch.ones(len(values), dtype=torch.float64), groups, weights.shape[1])
    return estimate(lambda w: w @ total / (w @ count), weights)


def summed(rows: Tensor, groups: Tensor | None, count: int) -> Tensor:
    """The sums over groups of rows (N, ...), (count, ...); the rows themselves where there are none."""
    return rows if groups is None else rows.new_zeros(count, *rows.shape[1:]).index_add_(0, groups, rows)


def median(values: Tensor, weights: Tensor) -> Estimate:
    """The median of values (N,), the lower of two in the middle, with its interval over row weights (R, N)."""
    ordered, order = values.double().sort()

    def weighted(rows: Tensor) -> Tensor:
        below = rows[:, order].cumsum(1)
        return ordered[(below >= below[:, -1:] / 2).double().argmax(1)]

    return estimate(weighted, weights)


def beyond_chance(differences: Tensor, seed: int = 0) -> float:
    """One-sided p of paired differences (N,): how often random signs make their mean as high (Fisher 1935)."""
    signs = torch.randint(2, (FLIPS, len(differences)), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    values = differences.double()
    as_high = (signs.double() @ values >= values.sum() - 1e-12).sum()
    return (float(as_high) + 1) / (FLIPS + 1)
