"""Filling holes without a visible seam: the discrete Laplace equation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import fft, ndimage
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from ppgn.errors import InputError

# Of a line of pixels whose beginning and end are free: the transform that makes −d²/dx² diagonal, nearly where only one
# of both is free.
TRANSFORMS = {
    (False, False): ("dst", 1),
    (False, True): ("dst", 4),
    (True, False): ("dct", 4),
    (True, True): ("dct", 2),
}


def harmonic(values: Tensor, hole: Tensor, tolerance: float = 1e-4) -> Tensor:
    """Values (C, H, W) with the hole (H, W), bool, filled by the solution of Δu = 0, (C, H, W); the rest is unchanged.

    Each pixel of the hole becomes the mean of its neighbours (up to four), those in the hole included: continuous with
    the known values around, and free towards the edge of the picture. Every connected part of the hole is solved in the
    box around it, by conjugate gradients until the residual is `tolerance` of the start's, preconditioned by the fast
    Poisson solver of the box: of a rectangle that is the solution. Raises `InputError` where nothing is known.
    """
    if bool(hole.all()):
        raise InputError("the hole covers the whole image; leave some pixels known")
    filled = values.detach().cpu().numpy().copy()
    parts, _ = ndimage.label(hole.cpu().numpy())
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        ends = [(place.start == 0, place.stop == length) for place, length in zip(box, parts.shape, strict=True)]
        ring = tuple(slice(p.start - (not low), p.stop + (not high)) for p, (low, high) in zip(box, ends, strict=True))
        within = filled[(slice(None), *ring)]
        within[:] = _solve(within, parts[ring] == number, ends, tolerance)
    return torch.from_numpy(filled).to(values.device)


def poisson_blend(photo: Tensor, drawn: Tensor, hole: Tensor) -> Tensor:
    """The photo (3, H, W) with the hole (H, W), bool, taking the gradients of `drawn` (3, H, W), without a seam.

    Solves Δf = Δ(drawn) in the hole with f = photo around it, as drawn + the harmonic extension of photo − drawn. Known
    pixels are returned as they are; the hole is clamped to [0, 1]. Source: Pérez, Gangnet & Blake 2003, Eq. 4 and 5.
    """
    return torch.where(hole, (drawn + harmonic(photo - drawn, hole)).clamp(0, 1), photo)


def _solve(values: np.ndarray, hole: np.ndarray, ends: list[tuple[bool, bool]], tolerance: float) -> np.ndarray:
    """−Δu = 0 for the pixels of the hole (H, W), the others of the values (C, H, W) held, as one system.

    ends: whether rows and columns begin and end at the picture's edge; else a line of known pixels lies there.
    """
    inner = tuple(slice(not low, length - (not high)) for length, (low, high) in zip(hole.shape, ends, strict=True))
    inside, kinds, inner = hole[inner], [TRANSFORMS[end] for end in ends], (slice(None), *inner)
    down, across = (_eigenvalues(n, kind) for n, (_, kind) in zip(inside.shape, kinds, strict=True))
    sums = (down[:, None] + across).astype(values.dtype)
    sums[sums == 0] = sums[sums > 0].min(initial=1)  # of a constant, where the box reaches every edge
    whole, shape = np.zeros_like(values), (len(values), *inside.shape)

    def minus_laplacian(u: np.ndarray) -> Any:
        """In the hole, flat; at the picture's edge a pixel has fewer neighbours."""
        rows, columns = np.diff(u, axis=1), np.diff(u, axis=2)
        out = np.zeros_like(u)
        out[:, :-1] -= rows
        out[:, 1:] += rows
        out[:, :, :-1] -= columns
        out[:, :, 1:] += columns
        return (out[inner] * inside).ravel()

    def multiply(x: np.ndarray) -> Any:
        whole[inner] = x.reshape(shape)
        return minus_laplacian(whole)

    def precondition(x: np.ndarray) -> Any:
        spectrum: Any = x.reshape(shape)
        for axis, (name, kind) in enumerate(kinds, 1):
            spectrum = getattr(fft, name)(spectrum, kind, axis=axis)
        spectrum = spectrum / sums
        for axis, (name, kind) in enumerate(kinds, 1):
            spectrum = getattr(fft, f"i{name}")(spectrum, kind, axis=axis)
        return (spectrum * inside).ravel()

    known = np.where(hole, 0, values)
    right = -minus_laplacian(known)
    size = (right.size, right.size)
    matrix, inverse = (LinearOperator(size, matvec=by, dtype=values.dtype) for by in (multiply, precondition))
    solved, _ = cg(matrix, right, rtol=tolerance, M=inverse)
    known[inner] += solved.reshape(shape)
    return known


def _eigenvalues(length: int, kind: int) -> np.ndarray:
    """Of −d²/dx² on so many pixels, in the order of the cosine or sine transform of that kind, (length,)."""
    order = np.arange(length)
    angle = {1: (order + 1) / (length + 1), 2: order / length, 4: (order + 0.5) / length}[kind]
    return 2 - 2 * np.cos(np.pi * angle)
