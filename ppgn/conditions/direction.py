"""Point along a direction inside a network: a vector, weighted channels, a latent of a sparse autoencoder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn import files
from ppgn.conditions.base import Condition
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, check_known
from ppgn.networks import _weights
from ppgn.networks import sae as autoencoders
from ppgn.numerics.linear import linear

SCORES = ("projection", "cosine")


class Direction(Unit):
    """Images (B, 3, H, W) in [0, 1] -> how far a layer's units point along a `direction`, (B,).

    `direction`: a tensor (D,), or several (N, D) of which `target` is the number; a mapping {unit: weight} or its text,
    "17:1,30:-0.5"; or a .safetensors, .pt or .npy file of a tensor. `score`: "projection" is that on the vector of unit
    length, in units of activation; "cosine" is `concentration` times the cosine, log p of a von Mises-Fisher
    distribution up to a constant. `layer` and `position` are those of `Unit`.

    Raises `InputError` as `Unit` does, and for a direction that does not fit the layer, or has no length.
    """

    def __init__(
        self,
        network: nn.Module | str,
        layer: str,
        direction: Tensor | Mapping[int, float] | Sequence[float] | str | Path,
        target: str | int = 0,
        position: str | int | Sequence[int] = "center",
        score: str = "projection",
        concentration: float = 20.0,
    ) -> None:
        check_known("score", score, SCORES)
        scale = concentration if score == "cosine" else None
        super().__init__(network, layer, target, position, "activation", through=_Along(_read(direction), scale))

    describe = Condition.describe  # "log_prob" alone, which is the value


class Latent(Unit):
    """Images (B, 3, H, W) in [0, 1] -> what latent `target` of a sparse autoencoder says of a layer, (B,).

    That is what the latent computes before its nonlinearity: equal to its activation where it is active, and with a
    gradient where it is not. `layer` and `position` are those of `Unit`; `sae` is a `ppgn.networks.sae.SparseEncoder`
    or its file. Raises `InputError` as `Unit` does, and for weights that do not fit.
    """

    def __init__(
        self,
        network: nn.Module | str,
        layer: str,
        sae: autoencoders.SparseEncoder | str | Path,
        target: str | int,
        position: str | int | Sequence[int] = "center",
    ) -> None:
        encoder = sae if isinstance(sae, nn.Module) else autoencoders.load(sae)
        super().__init__(network, layer, target, position, "activation", through=encoder)

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """Of each image: "log_prob", the value, and "activation", what is left of it behind the nonlinearity."""
        latents = self._logits(images)
        encoder: Any = self.network.body.through
        active = encoder.active(latents)[:, self.index].tolist()
        values = latents[:, self.index].tolist()
        return [{"log_prob": v, "activation": a} for v, a in zip(values, active, strict=True)]


class _Along(nn.Module):
    """Units (B, D) -> their projections on unit vectors (N, D), or `scale` times the cosines, (B, N)."""

    vectors: Tensor

    def __init__(self, vectors: Tensor | Mapping[int, float], scale: float | None) -> None:
        super().__init__()
        self.weights = vectors if isinstance(vectors, Mapping) else None
        self.scale = scale
        made = torch.zeros(0, 0) if isinstance(vectors, Mapping) else _unit(vectors)
        self.register_buffer("vectors", made)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, N)."""
        size = x.shape[1]
        if self.weights is not None and not self.vectors.numel():
            if max(self.weights) >= size:
                given = f"unit {max(self.weights)} of a layer of {size} units"
                raise InputError(f"direction: {given}; give 0 to {size - 1}")
            vector = torch.zeros(size)
            for unit, weight in self.weights.items():
                vector[unit] = weight
            self.vectors = _unit(vector)
        if self.vectors.shape[1] != size:
            raise InputError(f"direction of {self.vectors.shape[1]} numbers on a layer of {size} units; give its layer")
        vectors = self.vectors.to(x)
        return linear(x, vectors) if self.scale is None else self.scale * linear(F.normalize(x, dim=1), vectors)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (D,) or (N, D) -> (N, D) of length 1."""
    found = vectors.detach().float()
    found = found[None] if found.dim() == 1 else found
    if found.dim() != 2 or not bool(found.isfinite().all()) or bool((found.norm(dim=1) == 0).any()):
        expected = "expected finite numbers (D,) or (N, D), not all 0"
        raise InputError(f"direction of shape {tuple(vectors.shape)}: {expected}")
    return F.normalize(found, dim=1)


def _read(given: Any) -> Tensor | Mapping[int, float]:
    """What a direction is given as -> vectors, or a weight for each of some units."""
    if isinstance(given, Mapping):
        return {int(unit): float(weight) for unit, weight in given.items()}
    if isinstance(given, str) and re.fullmatch(r"\s*\d+\s*:.*", given):
        try:
            return {int(unit): float(weight) for unit, weight in (part.split(":") for part in given.split(","))}
        except ValueError as error:
            expected = "expected UNIT:WEIGHT,UNIT:WEIGHT, for example 17:1,30:-0.5"
            raise InputError(f"direction '{given}': {expected}") from error
    if not isinstance(given, str | Path):
        return torch.as_tensor(given)
    file = Path(given).expanduser()
    if file.suffix != ".npy":
        tensors = _weights.read(file)
        if len(tensors) != 1:
            raise InputError(f"direction '{given}' holds {len(tensors)} tensors ({', '.join(tensors)}); expected one")
        return next(iter(tensors.values()))
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except files.DAMAGED as error:
        reason = "no such file, or none of a vector; give .safetensors or .npy"
        raise InputError(f"direction '{given}': {reason}") from error
