"""Filling holes without a visible seam: the discrete Laplace equation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError

COARSE = 16  # pixels a side below which a grid is not halved any further
ITERATIONS = 60  # of conjugate gradients at most, on every grid but the coarsest


def harmonic(values: Tensor, hole: Tensor, tolerance: float = 1e-4) -> Tensor:
    """Values (C, H, W) with the hole (H, W), bool, filled by the solution of Δu = 0, (C, H, W); the rest is unchanged.

    Each pixel of the hole becomes the mean of its neighbours (up to four), those in the hole included: continuous with
    the known values around, and free towards the edge of the picture. Solved by conjugate gradients until the residual
    is `tolerance` of the start's, from the solution on a grid of half the size (cascadic multigrid, Bornemann &
    Deuflhard 1996). Raises `InputError` where nothing is known.
    """
    if bool(hole.all()):
        raise InputError("the hole covers the whole image; leave some pixels known")
    if not bool(hole.any()):
        return values.clone()
    inside = hole.to(values.dtype)
    start = torch.where(hole, _guess(values, inside, tolerance), values)
    coarsest = min(hole.shape) <= COARSE
    return torch.where(hole, _solve(start, inside, tolerance, 10 * hole.numel() if coarsest else ITERATIONS), values)


def poisson_blend(photo: Tensor, drawn: Tensor, hole: Tensor) -> Tensor:
    """The photo (3, H, W) with the hole (H, W), bool, taking the gradients of `drawn` (3, H, W), without a seam.

    Solves Δf = Δ(drawn) in the hole with f = photo around it, as drawn + the harmonic extension of photo − drawn. Known
    pixels are returned as they are; the hole is clamped to [0, 1]. Source: Pérez, Gangnet & Blake 2003, Eq. 4 and 5.
    """
    return torch.where(hole, (drawn + harmonic(photo - drawn, hole)).clamp(0, 1), photo)


def _guess(values: Tensor, inside: Tensor, tolerance: float) -> Tensor:
    """Values everywhere, (C, H, W), from half the resolution, or on a small grid the mean of what is known."""
    known = 1 - inside
    height, width = inside.shape
    if min(height, width) <= COARSE:
        return ((values * known).sum((1, 2)) / known.sum()).view(-1, 1, 1).expand_as(values)
    share = F.avg_pool2d(known[None, None], 2, ceil_mode=True)[0, 0]
    means = F.avg_pool2d((values * known)[None], 2, ceil_mode=True)[0] / share.clamp_min(1e-6)
    coarse = harmonic(means, share == 0, tolerance)
    return F.interpolate(coarse[None], scale_factor=2, mode="bilinear")[0, :, :height, :width]


def _solve(u: Tensor, inside: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Conjugate gradients on −Δu = 0 for the pixels `inside` (H, W), the others held; u (C, H, W) is the start.

    Channels are independent systems walked together.
    """
    residual = inside * _laplacian(u)
    direction, square = residual, residual.square().sum((1, 2), keepdim=True)
    goal = square * tolerance**2
    for _ in range(iterations):
        if bool((square <= goal).all()):
            break
        image = -inside * _laplacian(direction)
        step = square / (direction * image).sum((1, 2), keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        u, residual = u + step * direction, residual - step * image
        square, last = residual.square().sum((1, 2), keepdim=True), square
        direction = residual + square / last.clamp_min(torch.finfo(u.dtype).tiny) * direction
    return u


def _laplacian(u: Tensor) -> Tensor:
    """Σ over the neighbours that a pixel has of (neighbour − u), (C, H, W)."""
    padded = F.pad(u[None], (1, 1, 1, 1), mode="replicate")[0]
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return around - 4 * u
