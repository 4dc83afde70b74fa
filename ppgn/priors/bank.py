"""Parzen's window over codes of photographs: a density, the exact denoiser at every noise level, and anchors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.numerics.linear import linear
from ppgn.priors.denoiser import EveryLevel, SmoothedDensity, vector_dim

LEVELS = 127  # of a stored number, on either side of 0
CHUNK = 4096  # members that are put into floating point at a time


class Bank(SmoothedDensity):
    """p(h) = 1/K Σ_k N(h; c b_k, s² I) for codes (D,), with the codes b_k of K = `members` photographs.

    s is `bandwidth`, c = √(1 − s²), so that whitened codes keep unit variance. Photographs tell the first `dims` of a
    code; the others are independent and normal, as all photographs' are. With noise of standard deviation σ it stays a
    mixture, of variances s² + σ², so that log p(h), its gradient and R(h, σ) = E[h0 | h0 + σ z = h] are known in closed
    form. `sigma` is what `residual` takes. Members are stored in 8 bits a number. Not fitted, all of them are 0.

    A bank can also hold a linear regression of what a `network` with so many `outputs`, named by its digest, says of
    what G draws of a code (`ppgn.anchors`). Raises `InputError` for settings that cannot be.

    Source: Parzen 1962.
    """

    members: Tensor  # int8 (K, dims)
    scale: Tensor  # (dims,)
    mean: Tensor  # (D − dims,)
    variance: Tensor  # (D − dims,)
    readout: Tensor  # (outputs, dims + 1)

    def __init__(
        self,
        code_shape: Sequence[int],
        members: int,
        sigma: float,
        *,
        dims: int | None = None,
        bandwidth: float = 0.5,
        network: str | None = None,
        outputs: int = 0,
        sigmas: Sequence[float] = (1e-3, 1e3),
    ) -> None:
        super().__init__(code_shape, sigmas, sigma)
        dim = vector_dim(code_shape)
        self.dims = dim if dims is None else dims
        self.bandwidth, self.shrink = float(bandwidth), (1 - min(bandwidth, 1) ** 2) ** 0.5
        if members < 1 or not 1 <= self.dims <= dim or not 0 < self.bandwidth < 1:
            given = f"members={members}, dims={dims}, bandwidth={bandwidth}"
            raise InputError(f"prior: {given}; expected members from 1, dims from 1 to {dim}, bandwidth in (0, 1)")
        self.register_buffer("members", torch.zeros(members, self.dims, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(self.dims))
        self.register_buffer("mean", torch.zeros(dim - self.dims))
        self.register_buffer("variance", torch.ones(dim - self.dims))
        self.register_buffer("readout", torch.zeros(outputs, self.dims + 1))
        self.network = network

    def __len__(self) -> int:
        """K, the number of photographs."""
        return len(self.members)

    def codes(self, rows: Tensor) -> Tensor:
        """The codes b_k of members, rows (N,) -> (N, D); what photographs do not tell is that of the mean one."""
        told: Tensor = self.members[rows] * self.scale
        return torch.cat([told, self.mean.expand(len(told), -1)], dim=1)

    def regression(self, network: str) -> Tensor | None:
        """The weight, (K, D + 1), from codes and 1 to the outputs of the network of that digest, if it is known."""
        if network != self.network:
            return None
        told, constant = self.readout.split([self.dims, 1], dim=1)
        return torch.cat([told, told.new_zeros(len(told), len(self.mean)), constant], dim=1)

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> log p(h), (B,)."""
        told, rest = h.split([self.dims, h.shape[1] - self.dims], dim=1)
        variance = self.bandwidth**2
        window = self._similarity(told, variance).logsumexp(dim=1) - 0.5 * told.square().sum(dim=1) / variance
        normal = (rest - self.mean).square() / self.variance + self.variance.log()
        constant = math.log(len(self)) + 0.5 * (self.dims * math.log(variance) + h.shape[1] * math.log(2 * math.pi))
        log_p: Tensor = window - 0.5 * normal.sum(dim=1) - constant
        return log_p

    def near(self, anchor: Tensor, spread: float) -> Near:
        """The prior of codes near each row's `anchor`, (B, D)."""
        return Near(anchor, spread)

    def _chunks(self) -> Iterator[Tensor]:
        """The members in floating point, some at a time, (n, dims)."""
        return (part * self.scale for part in self.members.split(CHUNK))

    def _similarity(self, told: Tensor, variance: float) -> Tensor:
        """−½ ‖h − c b_k‖² / v without its term of h alone: the first `dims` of codes, (B, dims) -> (B, K)."""
        centres = (self.shrink * part for part in self._chunks())
        parts = [linear(told, centre) - 0.5 * centre.square().sum(dim=1) for centre in centres]
        return torch.cat(parts, dim=1) / variance

    def _score(self, h: Tensor, sigma: float) -> Tensor:
        told, rest = h.split([self.dims, h.shape[1] - self.dims], dim=1)
        variance = self.bandwidth**2 + sigma**2
        shares = self._similarity(told, variance).softmax(dim=1).split(CHUNK, dim=1)
        mean = sum(linear(share, part.T) for share, part in zip(shares, self._chunks(), strict=True))
        towards = (self.shrink * mean - told) / variance, (self.mean - rest) / (self.variance + sigma**2)
        return torch.cat(towards, dim=1)

    @torch.no_grad()
    def fit(self, codes: Tensor, seed: int = 0) -> None:
        """Take as many codes (N, D) as there are members, at random. Raises `InputError` for fewer codes."""
        if len(codes) < len(self):
            raise InputError(f"prior: {len(codes)} codes for {len(self)} members; give more codes, or fewer members")
        random = torch.Generator().manual_seed(seed)
        chosen = codes[torch.randperm(len(codes), generator=random)[: len(self)]].to(self.scale)
        told, rest = chosen.split([self.dims, codes.shape[1] - self.dims], dim=1)
        self.scale.copy_((told.abs().amax(dim=0) / LEVELS).clamp_min(torch.finfo(torch.float16).tiny))
        self.members.copy_((told / self.scale).round())
        self.mean.copy_(rest.mean(dim=0))
        self.variance.copy_((rest - self.mean).square().mean(dim=0).clamp_min(1e-4))


class Near(EveryLevel, nn.Module):
    """p(h) = N(h; a, s² I), an anchor a for each row, (B, *code_shape), s = `spread`; `residual` takes the level s."""

    code_shape = None  # that of the anchors
    sigmas = (0.0, math.inf)

    def __init__(self, anchor: Tensor, spread: float) -> None:
        super().__init__()
        self.anchor, self.spread = anchor, float(spread)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> R(h, s) − h, alike; x is ignored."""
        return self.residual_at(h, x, self.spread)

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, *code_shape) with noise σ -> R(h, σ) − h = (a − h) σ² / (s² + σ²); x is ignored."""
        return (self.anchor - h) * (sigma**2 / (self.spread**2 + sigma**2))
