"""What a picture with a hole says of the code of the whole picture: a regression on drawings of a bank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn import anchors, files, paths
from ppgn.contracts import AnchoringPrior
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.blending import harmonic
from ppgn.model import PPGN
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.numerics.linear import linear
from ppgn.samplers.anchored import evened

FORMAT = "ppgn-drawings-2"  # 1 had the pictures, and no holes
LEVELS = 127  # of a stored number, on either side of 0
ROUNDS = 4  # holes that every drawing is given, one at a time
GRID = 8  # cells on a side: two holes are as alike as their shares of these are
EFFECTIVE = 2000.0  # drawings in effect that a hole's regression is fitted to, those with the likest holes: at least
RIDGE = 1000.0  # of the regression, in drawings
FOLDS = 8  # parts of the drawings, whose errors are those of a regression on the others
SHARPEST = 0.01  # difference of two holes, root mean square over the cells, up to which they always count as alike
LEAST = 1e-3  # of the most that a pair of codes counts: less is left out
BATCH = 16  # drawings at a time
_DRAWINGS: WeakKeyDictionary[PPGN, dict[tuple[int, int], Drawings]] = WeakKeyDictionary()  # by bank and count


@dataclass(frozen=True)
class Regression:
    """The whole picture's code is N(s + W [s, 1], Σ), s that of the picture with its hole filled smoothly.

    weight: W, (D, D + 1). Σ is that of drawings left out of the regression: `variance`, (D,), along the columns of
    `directions`, (D, D).
    """

    weight: Tensor
    variance: Tensor
    directions: Tensor

    def mean(self, smooth: Tensor) -> Tensor:
        """Codes s, (B, D) -> those expected of the whole pictures, (B, D)."""
        return smooth + linear(smooth, self.weight[:, :-1], self.weight[:, -1])

    @staticmethod
    def fit(smooth: Tensor, whole: Tensor, counts: Tensor, folds: Tensor) -> Regression:
        """Fit to the codes s and those of the whole pictures, (N, D) both, each of which counts so much, (N,).

        Σ is that of the errors in one fold, of numbers (N,), by the regression on all others.
        """
        one = torch.cat([smooth, smooth.new_ones(len(smooth), 1)], dim=1).double()
        apart, counts = (whole - smooth).double(), counts.double()
        penalty = RIDGE * torch.eye(one.shape[1]).to(one)
        penalty[-1, -1] = 1e-6  # the constant is free
        parts = [(folds == fold).nonzero().flatten() for fold in folds.unique()]
        products = [_products(one[rows], apart[rows], counts[rows]) for rows in parts]
        gram, right = (torch.stack(terms).sum(dim=0) for terms in zip(*products, strict=True))
        covariance = torch.zeros_like(gram[:-1, :-1])
        for rows, (own, mine) in zip(parts, products, strict=True):
            left = apart[rows] - one[rows] @ torch.linalg.solve(gram - own + penalty, right - mine)
            covariance += (left * counts[rows, None]).T @ left
        variance, directions = torch.linalg.eigh(covariance / counts.sum())
        weight = torch.linalg.solve(gram + penalty, right).T
        return Regression(weight.to(smooth), variance.to(smooth), directions.to(smooth))


def _products(one: Tensor, apart: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    weighed = one * counts[:, None]
    return weighed.T @ one, weighed.T @ apart


class Drawings:
    """What a model draws of the first `count` photographs of a bank: codes of these drawings, and of them with holes.

    Every drawing has `ROUNDS` holes at random, one at a time: the rows of `smooth` are its codes with each of them
    filled smoothly, those of `cells` what the hole has of the cells of a grid. Those of shipped models come along; the
    disk remembers the others, in `paths.cache()`. A file that cannot be read or written is as good as none.
    """

    def __init__(self, model: PPGN, bank: AnchoringPrior, count: int) -> None:
        digest = anchors.digest(*(cast(nn.Module, part) for part in (model.generator, model.encoder, bank)))
        kept, about = paths.cache() / f"drawings-{digest}-{count}.safetensors", {"model": digest, "count": count}
        saved: dict[str, Tensor] = {}
        for path in (*files.shipped(FORMAT).values(), kept):
            with suppress(InputError):
                if not saved and path.is_file() and about.items() <= files.head(path, FORMAT).items():
                    saved = files.load(path, FORMAT)[0]
        if saved.keys() != {"codes", "smooth", "scale", "cells"}:
            saved = _draw(model, bank, count)
            with suppress(InputError):
                files.save(kept, saved, FORMAT, **about)
        codes, smooth = (saved[name] * saved["scale"] for name in ("codes", "smooth"))
        self.codes, self.smooth = (part.to(model.device, model.dtype) for part in (codes, smooth))
        self.cells = saved["cells"] / 255
        self._known: dict[bytes, Regression] = {}

    def regression(self, hole: Tensor, exact: Callable[[Tensor], Regression] | None = None) -> Regression:
        """What pictures with this hole, (S, S'), bool, say of their codes: fitted to those with holes like it.

        A pair of codes counts by how near its hole is, such that `EFFECTIVE` of them do in effect. A hole from edge to
        edge, as a stretch of speech, is like none at random: that is fitted by `exact`, if given. Remembered.
        Source: locally weighted regression (Cleveland 1979).
        """
        key = hole.cpu().numpy().tobytes()
        through = bool((hole == hole[:1]).all()) or bool((hole == hole[:, :1]).all())
        if key not in self._known and exact is not None and through:
            self._known[key] = exact(hole.cpu())
        if key not in self._known:
            apart = (self.cells - _cells(hole[None].cpu())).double().square().mean(dim=1)
            shares = evened(-apart / SHARPEST**2, EFFECTIVE).softmax(dim=0)
            counts = shares / shares.square().sum()
            near = (counts > LEAST * counts.max()).nonzero().flatten()
            numbers, counts = near // ROUNDS, counts[near].to(self.codes.device)
            self._known[key] = Regression.fit(self.smooth[near], self.codes[numbers], counts, numbers % FOLDS)
        return self._known[key]


def drawings(model: PPGN, bank: AnchoringPrior, count: int) -> Drawings:
    """The same for as long as the model is in memory."""
    known, key = _DRAWINGS.setdefault(model, {}), (id(bank), count)
    if key not in known:
        known[key] = Drawings(model, bank, count)
    return known[key]


def fitted(model: PPGN, bank: AnchoringPrior, count: int, hole: Tensor) -> Regression:
    """What pictures with a hole, (S, S'), bool, say of their codes: fitted to `count` drawings with this very hole."""
    codes, smooth = [], []
    for rows in torch.arange(min(count, len(bank))).split(BATCH):
        with _alike(model):
            drawn = images.to_uint8(model.decode(bank.codes(rows))).cpu() / 255
        codes.append(_encode(model, drawn))
        smooth.append(_encode(model, harmonic(drawn.flatten(0, 1), hole).view_as(drawn)))
    whole, holed = (torch.cat(part).to(model.device, model.dtype) for part in (codes, smooth))
    return Regression.fit(holed, whole, torch.ones(len(whole)).to(whole), torch.arange(len(whole)) % FOLDS)


def _draw(model: PPGN, bank: AnchoringPrior, count: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    found: dict[str, list[Tensor]] = {"codes": [], "smooth": [], "cells": []}
    for rows in torch.arange(min(count, len(bank))).split(BATCH):
        with _alike(model):
            drawn = images.to_uint8(model.decode(bank.codes(rows))).cpu() / 255
        holes = torch.stack([some_hole(drawn.shape[-2:], random) for _ in range(ROUNDS * len(rows))])
        filled = torch.stack([harmonic(drawn[number // ROUNDS], hole) for number, hole in enumerate(holes)])
        found["codes"].append(_encode(model, drawn))
        found["smooth"].append(_encode(model, filled))
        found["cells"].append(_cells(holes))
    codes, smooth, cells = (torch.cat(parts) for parts in found.values())
    scale = torch.cat([codes, smooth]).abs().amax(dim=0).clamp_min(torch.finfo(torch.float16).tiny) / LEVELS
    stored = {name: (part / scale).round().to(torch.int8) for name, part in (("codes", codes), ("smooth", smooth))}
    return {**stored, "scale": scale.float(), "cells": (cells * 255).round().to(torch.uint8)}


def some_hole(size: Sequence[int], random: torch.Generator) -> Tensor:
    """A hole at random in a picture of `size` (S, S'), bool, as the region around a hole shows it: of half its side.

    Some are longer, up to edge to edge. Half of them lie in the middle, half are blots within a rectangle.
    """
    u = torch.rand(8, generator=random).tolist()
    longer = 0.5 if u[0] < 2 / 3 else 0.5 + 0.5 * u[1]
    shorter = min(longer, 0.5) * (0.4 + 0.6 * u[2])
    shares = (longer, shorter) if u[3] < 0.5 else (shorter, longer)
    places = (0.5, 0.5) if u[4] < 0.5 else (u[5], u[6])
    extents = [max(1, round(share * side)) for share, side in zip(shares, size, strict=True)]
    top, left = (int(at * (side - extent + 1)) for at, side, extent in zip(places, size, extents, strict=True))
    inside = torch.ones(extents, dtype=torch.bool)
    if u[7] < 0.5:
        inside = F.interpolate(torch.randn(1, 1, 4, 4, generator=random), extents, mode="bicubic")[0, 0] > 0
    hole = torch.zeros(*size, dtype=torch.bool)
    hole[top : top + extents[0], left : left + extents[1]] = inside
    return hole


def _cells(holes: Tensor) -> Tensor:
    """Holes (N, S, S'), bool -> the share that they have of every cell of a grid, (N, GRID²)."""
    return F.adaptive_avg_pool2d(holes.float(), GRID).flatten(1)


def _encode(model: PPGN, x: Tensor) -> Tensor:
    """Pictures on the CPU -> their codes there."""
    with _alike(model):
        return model.encode(x.to(model.device, model.dtype)).cpu()


def _alike(model: PPGN) -> AlikeInAnyBatch | nullcontext[None]:
    return AlikeInAnyBatch() if model.device.type == "cpu" else nullcontext()
