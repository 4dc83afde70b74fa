"""Codes from chosen layers of a frozen network: pooled, concatenated, whitened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Condition, Shape
from ppgn.errors import InputError
from ppgn.networks.network import Network
from ppgn.numerics.linear import linear

# Of a condition and a network: the copy of the network through which the condition looks.
_TRUNKS: WeakKeyDictionary[nn.Module, WeakKeyDictionary[Network, Network | None]] = WeakKeyDictionary()


class FeatureEncoder(nn.Module):
    """Frozen features as a code: h = W (f(x) − m), a fixed linear map fitted so that codes of data are near N(0, I).

    f(x) concatenates `layers` of `network`, each average-pooled to `pool` x `pool` positions where it is larger (one
    number for all layers, or one each; 0 keeps all positions). `dim` leading principal directions are kept, each with
    unit variance; `dim=None` keeps f(x) itself. Late layers carry what is in a picture, middle ones where and in
    which colour; a code wants both.

    `weights` balances the layers before the principal directions are sought: each layer's features are scaled to
    total variance 1, then by its weight. Until `fit` has run (or a checkpoint was loaded) a whitened encoder's codes
    are NaN.

    With `pixels` a picture that is larger is first averaged to that many a side, so that models which draw the same
    codes at several sizes have one encoder.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        *,
        pool: int | Sequence[int] = 4,
        dim: int | None = None,
        weights: Sequence[float] | None = None,
        pixels: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels
        self.layers = tuple(layers)
        self.pool = (pool,) * len(self.layers) if isinstance(pool, int) else tuple(pool)
        self.dim = dim
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.layers)
        for name, values in (("pool sizes", self.pool), ("weights", self.weights)):
            if len(values) != len(self.layers):
                raise InputError(f"encoder: {len(self.layers)} layers need as many {name}, not {len(values)}")
        size = network.preprocessing.size or 227
        with torch.no_grad():
            maps = network.features(torch.zeros(1, 3, size, size), self.layers)
        self._widths = [part.shape[1] for part in self._pooled(maps)]
        features = sum(self._widths)
        self.code_shape: Shape = (dim or features,)
        if dim is not None:
            if dim > features:
                raise InputError(f"encoder: dim={dim} is more than the {features} features of {', '.join(self.layers)}")
            self.register_buffer("mean", torch.zeros(features))
            self.register_buffer("whitening", torch.full((dim, features), math.nan))

    def features(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> pooled, concatenated features (B, F), before the linear map."""
        if self._reduces(x):
            x = F.adaptive_avg_pool2d(x, self.pixels)
        return torch.cat(self._pooled(self.network.features(x, self.layers)), dim=1)

    def _reduces(self, x: Tensor) -> bool:
        return self.pixels is not None and min(x.shape[-2:]) > self.pixels

    def _pooled(self, maps: dict[str, Tensor]) -> list[Tensor]:
        """What the network gives of the chosen layers, by name -> (B, F_l) of each."""
        pooled = []
        for name, pool in zip(self.layers, self.pool, strict=True):
            features = maps[name]
            if features.dim() == 4 and pool and min(features.shape[-2:]) > pool:
                features = F.adaptive_avg_pool2d(features, pool)
            pooled.append(features.flatten(1))
        return pooled

    def project(self, features: Tensor) -> Tensor:
        """Features (B, F) -> codes (B, D), in the whitening's precision; computed in float32 or better."""
        if self.dim is None:
            return features
        dtype = torch.promote_types(self.whitening.dtype, torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            centred = features.to(dtype) - self.mean.to(dtype)
            return linear(centred, self.whitening.to(dtype)).to(self.whitening.dtype)

    def encode_maps(self, maps: dict[str, Tensor]) -> Tensor:
        """What the network gives of the encoder's layers, by name, (B, C, H, W) or (B, C) each -> codes (B, D)."""
        return self.project(torch.cat(self._pooled(maps), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> codes (B, D)."""
        return self.project(self.features(x))

    @contextmanager
    def beside(self, condition: Condition, x: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        """While entered, the condition's pass of x itself gives the features as well, if its network is this one.

        The value encodes x (B, 3, H, W) -> codes (B, D), from these features where there are any.
        """
        trunk = None if self._reduces(x) else _trunk(condition, self.network)
        if trunk is None:
            yield self
            return
        with trunk.reading(x, self.layers) as maps:
            yield lambda x: self.encode_maps(maps) if maps else self(x)

    def directions(self) -> Tensor:
        """A, (F, D), float64: of all features with the code h, m + A h lies nearest to the mean m (W's pseudo-inverse).

        Raises `InputError` for an encoder without a whitening.
        """
        if self.dim is None:
            raise InputError("encoder: dim=None has no directions, its codes are the features; set dim")
        whitening = self.whitening.double()
        directions: Tensor = torch.linalg.solve(whitening @ whitening.T, whitening)
        return directions.T

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> float:
        """Fit the whitening on images (B, 3, H, W) in [0, 1]; returns the share of the (scaled) variance kept.

        One pass accumulates the mean and covariance of the features in float64 on the encoder's device, around the
        mean of the first batch. Raises `InputError` for too few images, or too much alike, to fill `dim` directions.
        """
        if self.dim is None:
            raise InputError("encoder: dim=None has no whitening to fit; set dim")
        width, device = self.mean.numel(), self.mean.device
        total = torch.zeros(width, dtype=torch.float64, device=device)
        square = torch.zeros(width, width, dtype=torch.float64, device=device)
        count, origin = 0, torch.zeros_like(total)
        for x in batches:
            features = self.features(x.to(device)).double()
            if count == 0:
                origin = features.mean(0)
            features -= origin
            total += features.sum(0)
            square += features.T @ features
            count += len(features)
        if count <= self.dim:
            raise InputError(f"encoder: {count} images cannot fit {self.dim} directions; give more images")
        mean = total / count
        covariance = square / count - torch.outer(mean, mean)
        scales = []  # bring each layer to total variance weight²; a layer that never varies stays as it is
        for part, weight in zip(covariance.diagonal().clamp_min(0).split(self._widths), self.weights, strict=True):
            spread = part.sum().sqrt()
            scales.append(torch.full_like(part, weight) / torch.where(spread > 0, spread, 1))
        scale = torch.cat(scales)
        values, vectors = torch.linalg.eigh((scale[:, None] * covariance * scale).cpu())
        kept = slice(len(values) - self.dim, None)
        rounding = width * torch.finfo(torch.float32).eps ** 2  # of features in float32, as a share of the variance
        if not values[kept][0] > rounding * values[-1]:
            advice = "give a smaller dim, or images that differ more"
            raise InputError(f"encoder: the features span fewer than dim={self.dim} directions; {advice}")
        whitening = vectors[:, kept].T.flip(0) / values[kept].flip(0).sqrt()[:, None] * scale.cpu()
        self.mean.copy_(origin + mean)
        self.whitening.copy_(whitening)
        return float(values[kept].sum() / values.sum())


def _trunk(condition: Condition, network: Network) -> Network | None:
    """The network of a condition, if there is one, that is `network` or a copy of it. Looked for once."""
    if not isinstance(condition, nn.Module):
        return None
    known = _TRUNKS.setdefault(condition, WeakKeyDictionary())
    if network not in known:
        found = (module for module in condition.modules() if isinstance(module, Network))
        known[network] = next((module for module in found if module.same_as(network)), None)
    return known[network]
