"""Photographs of a bank that go with what is known of a picture with a hole: anchors for the code of the whole one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ppgn.anchors import CHUNK, SHORTLIST
from ppgn.contracts import AnchoringPrior
from ppgn.inpainting.regression import Regression
from ppgn.priors.denoiser import EveryLevel
from ppgn.samplers.anchored import evened

CANDIDATES = 1 / 30  # of the members of a bank that the rest of a picture leaves in effect: at least
WINDOW = 0.5  # standard deviation of codes around a photograph's
MOST = 0.99  # variance, of the 1 that codes have, that may remain where the rest of the picture tells something


class Told:
    """A `bank` of which every member is told the rest of a picture: the code of the whole one is N(mean, Σ), (D,).

    Codes N(0, I) of that mean and covariance have seen, in the principal directions u of Σ with the variance v < 1, a
    likelihood N(t; uᵀh, n) with n = v / (1 − v) and t = uᵀmean / (1 − v). So a member's window N(b, s²) has the weight
    N(t; uᵀb, s² + n), and what it says of the code is N(b + g (t − b), s² (1 − g)) with g = s² / (s² + n). The weights
    are products over many directions in which windows are sparse: they are evened out until a share of all members,
    `candidates`, is left in effect.

    Source: ensemble Kalman and particle filters (Evensen 1994; Stordal et al. 2011, whose evened weights these are).
    """

    def __init__(
        self, bank: AnchoringPrior, regression: Regression, mean: Tensor, candidates: float = CANDIDATES
    ) -> None:
        self.bank, self.candidates = bank, candidates
        self.directions = regression.directions
        variance = regression.variance.clamp(torch.finfo(torch.float32).eps, MOST)
        noise = variance / (1 - variance)
        self.gain = WINDOW**2 / (WINDOW**2 + noise)
        self.precision = 1 / (WINDOW**2 + noise)
        self.centre = self.directions.T @ mean / (1 - variance)

    def anchors(self, guesses: Tensor) -> tuple[Tensor, Tensor]:
        """The codes that the likeliest members say, (N, D), and how likely each is, (N,), up to a constant.

        guesses: what a condition is guessed to say of every member, log p(y | G(b)), (K,).
        """
        fits = []
        for rows in torch.arange(len(self.bank)).split(CHUNK):
            apart = self.centre - self.bank.codes(rows) @ self.directions
            fits.append(-0.5 * apart.square() @ self.precision)
        log_p = evened(torch.cat(fits).double(), self.candidates * len(self.bank)) + guesses.to(fits[0].device)
        log_p, rows = log_p.topk(min(SHORTLIST, len(log_p)))
        found = self.bank.codes(rows)
        return found + (self.gain * (self.centre - found @ self.directions)) @ self.directions.T, log_p


class ToldBank:
    """A `bank` whose window around row b's anchor is narrower in the directions that `told[b]` says something of."""

    def __init__(self, bank: AnchoringPrior, told: Sequence[Told]) -> None:
        self.bank, self.told = bank, told

    def __len__(self) -> int:
        return len(self.bank)

    def codes(self, rows: Tensor) -> Tensor:
        """See `contracts.AnchoringPrior`."""
        return self.bank.codes(rows)

    def regression(self, network: str) -> Tensor | None:
        """See `contracts.AnchoringPrior`."""
        return self.bank.regression(network)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, D) and their signals -> R(h) − h of the bank, alike."""
        return self.bank.residual(h, x)

    def near(self, anchor: Tensor, spread: float) -> NearTold:
        """The prior of codes near each row's `anchor`, (B, D)."""
        return NearTold(anchor, spread, self.told)


class NearTold(EveryLevel):
    """p(h) = N(h; a, s² (1 − g)) in the directions of each row's `told`, an anchor a each, (B, D), s = `spread`."""

    code_shape = None  # that of the anchors
    sigmas = (0.0, math.inf)

    def __init__(self, anchor: Tensor, spread: float, told: Sequence[Told]) -> None:
        self.anchor, self.spread, self.told = anchor, spread, told

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, D) -> R(h, s) − h, alike; x is ignored."""
        return self.residual_at(h, x, self.spread)

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, D) with noise σ -> R(h, σ) − h, alike; x is ignored. A row is rounded alike in any batch."""
        rows = []
        for apart, told in zip(self.anchor - h, self.told, strict=True):
            share = sigma**2 / (sigma**2 + self.spread**2 * (1 - told.gain))
            rows.append(told.directions @ (share * (told.directions.T @ apart)))
        return torch.stack(rows)
