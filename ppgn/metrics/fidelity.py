"""How much pictures are like photographs: distances between sets of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.media.images import to_uint8
from ppgn.metrics.bootstrap import Estimate, draws, estimate
from ppgn.metrics.look import look
from ppgn.networks import imagenet

NETWORK, SIZE, LAYER = "efficientnet_lite2", 128, "bn2"
NEIGHBOURS = 5
FRECHET_RESAMPLES = 100  # each decomposes a matrix


class Features(nn.Module):
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], -> features (N, 1280) float32 on the CPU.

    EfficientNet-Lite2 at 128 px, `bn2` (after its activation) averaged over all positions. Float pictures are rounded
    to the 256 levels a file has. No network that draws or conditions here by default is an EfficientNet-Lite2.
    """

    def __init__(self, batch_size: int = 50) -> None:
        super().__init__()
        self.network = imagenet.load(NETWORK, size=SIZE)
        self.batch_size = batch_size

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1280)."""

        def averaged(x: Tensor) -> Tensor:
            return self.network.features(x, [LAYER])[LAYER].mean(dim=(2, 3)).float()

        return look(averaged, pictures, self.network.preprocessing.gain, self.batch_size)


class Frechet:
    """Fréchet distance between Gaussians fitted to features x (N, D) and y (M, D), in float64.

    Called with row weights (R, N) of x it gives (R,); weights of ones are the figure itself. It depends on N and M
    (fewer rows score worse): compare only sets of the same sizes. Raises `InputError` for fewer than two rows.
    Source: Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        _check_rows("the Fréchet distance", 2, x, y)
        x, y = x.double(), y.double()
        covariance = torch.cov(y.T).reshape(y.shape[1], -1)
        self.x, self.trace = x - y.mean(0), covariance.trace()
        self.kernel = self.x @ covariance @ self.x.T

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        """Weights of the rows of x (R, N), by default ones -> distances, (R,)."""
        each = self.x.new_ones(1, len(self.x)) if weights is None else weights
        return torch.stack([self._one(w) for w in each])

    def _one(self, weights: Tensor) -> Tensor:
        """The distance with weights (N,) of x.

        cov_x cov_y has the eigenvalues of A cov_y Aᵀ, where the rows of A are those of x, centred and weighted, and
        AᵀA is cov_x.
        """
        drawn = weights > 0  # the others are rows of zeros
        x, kernel, w = self.x[drawn], self.kernel[drawn][:, drawn], weights[drawn]
        count = w.sum()
        mean = w @ x / count
        scale = (w / (count - 1)).sqrt()
        shift = kernel @ w / count
        centred = kernel - shift - shift[:, None] + w @ shift / count
        values = torch.linalg.eigvalsh(scale[:, None] * centred * scale)[-x.shape[1] :]  # the others are 0
        cross = values.clamp_min(0).sqrt().sum()
        variance = (scale[:, None] * (x - mean)).square().sum()
        distance: Tensor = mean.square().sum() + variance + self.trace - 2 * cross
        return distance


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """`Frechet` of features x (N, D) and y (M, D)."""
    return Frechet(x, y)().item()


def frechet(x: Tensor, y: Tensor, weights: Tensor) -> Estimate:
    """`Frechet` of features x (N, D) and y (M, D) with its interval over the first 100 of the weights (R, N) of x."""
    return estimate(Frechet(x, y), weights[:FRECHET_RESAMPLES], centred=True)


class KID:
    """Kernel distance between features x (N, D) and y (M, D): unbiased MMD² with the kernel (u·v/D + 1)³.

    Called with row weights (R, N) and (R, M) it gives (R,); weights of ones are the figure itself. A row drawn several
    times is never compared with itself, so that a bootstrap is not biased upwards. Raises `InputError` for fewer than
    two rows. Source: Bińkowski et al. 2018 (arXiv 1801.01401), Eq. 4.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        _check_rows("KID", 2, x, y)
        x, y = x.double(), y.double()
        self.xx, self.yy, self.xy = (self._kernel(u, v) for u, v in ((x, x), (y, y), (x, y)))
        self.xx.fill_diagonal_(0)
        self.yy.fill_diagonal_(0)

    @staticmethod
    def _kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def __call__(self, weights_x: Tensor | None = None, weights_y: Tensor | None = None) -> Tensor:
        """Weights of the rows of x (R, N) and of y (R, M), by default ones -> MMD², (R,)."""
        wx = self.xx.new_ones(1, len(self.xx)) if weights_x is None else weights_x
        wy = self.yy.new_ones(1, len(self.yy)) if weights_y is None else weights_y
        across = ((wx @ self.xy) * wy).sum(1) / (wx.sum(1) * wy.sum(1))
        return self._within(self.xx, wx) + self._within(self.yy, wy) - 2 * across

    @staticmethod
    def _within(kernel: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean of k(u, u') over pairs of different rows, (R,)."""
        pairs = weights.sum(1).square() - weights.square().sum(1)
        return ((weights @ kernel) * weights).sum(1) / pairs


def kid(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Estimate:
    """`KID` of features x (N, D) and y (M, D) with its interval, both sets resampled.

    `weights` (R, N) are other resamples of x than those of its rows, for example of whole classes; the interval is
    centred, as classes drawn twice make pictures look alike.
    """
    distance = KID(x, y)
    of_x = draws(len(x)) if weights is None else weights
    both = torch.cat([of_x, draws(len(y), seed=1)[: len(of_x)]], dim=1)
    return estimate(lambda w: distance(w[:, : len(x)], w[:, len(x) :]), both, centred=True)


class DensityCoverage:
    """Density and coverage of `fake` features (M, D) around `real` ones (N, D).

    Every real row has a ball that reaches to its k-th nearest other real row. Density is the mean number of balls that
    a fake row lies in, over k (1 is expected of real rows); coverage the share of balls with a fake row inside, which
    grows with M. Each is a function of weights (R, M) of the fake rows, by default ones, with values (R,). Raises
    `InputError` for k or fewer real rows. Source: Naeem et al. 2020 (arXiv 2002.09797), Eq. 4 and 5.
    """

    def __init__(self, real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> None:
        _check_rows(f"density and coverage with k={k}", k + 1, real)
        _check_rows("density and coverage", 1, fake)
        real, fake = real.double(), fake.double()
        radii = torch.cdist(real, real).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
        self.inside = (torch.cdist(real, fake) < radii[:, None]).double()
        self.k = k

    def density(self, weights: Tensor | None = None) -> Tensor:
        """The mean number of balls around a fake row, over k, (R,)."""
        w = self._ones() if weights is None else weights
        return w @ self.inside.sum(0) / (self.k * w.sum(1))

    def coverage(self, weights: Tensor | None = None) -> Tensor:
        """The share of balls with a fake row inside, (R,)."""
        w = self._ones() if weights is None else weights
        return (w @ self.inside.T > 0).double().mean(1)

    def _ones(self) -> Tensor:
        return self.inside.new_ones(1, self.inside.shape[1])


def _check_rows(what: str, least: int, *sets: Tensor) -> None:
    for features in sets:
        if len(features) < least:
            raise InputError(f"{what} needs {least} pictures or more, not {len(features)}; give more")


def psnr(x: Tensor, y: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures x and y (N, 3, H, W), uint8 or float in [0, 1], (N,).

    `where` (N, H, W), bool, are the pixels that count, by default all.
    """
    error = (to_uint8(x).double() - to_uint8(y).double()).square().mean(dim=1) / 255**2
    counted = torch.ones_like(error) if where is None else where.double()
    return -10 * ((error * counted).sum((1, 2)) / counted.sum((1, 2))).log10()
