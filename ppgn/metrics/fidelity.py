"""How much pictures are like photographs: distances between sets of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.images import to_uint8
from ppgn.metrics.bootstrap import Estimate, draws, estimate
from ppgn.networks import imagenet

NETWORK, SIZE, LAYER = "efficientnet_lite2", 128, "bn2"
NEIGHBOURS = 5


class Features(nn.Module):
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], -> features (N, 1280) float32 on the CPU.

    EfficientNet-Lite2 at 128 px, `bn2` (after its activation) averaged over all positions. Float pictures are rounded
    to the 256 levels a file has. No network that draws or conditions here by default is an EfficientNet-Lite2.
    """

    def __init__(self, batch_size: int = 50) -> None:
        super().__init__()
        self.network = imagenet.load(NETWORK, size=SIZE)
        self.batch_size = batch_size

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1280)."""
        gain = self.network.preprocessing.gain
        parts = []
        for batch in pictures.split(self.batch_size):
            maps = self.network.features(to_uint8(batch).to(gain) / 255, [LAYER])
            parts.append(maps[LAYER].mean(dim=(2, 3)).float().cpu())
        return torch.cat(parts)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to features x (N, D) and y (M, D), in float64.

    It depends on N and M (fewer rows score worse): compare only sets of the same sizes. Raises `InputError` for fewer
    than two rows. Source: Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.
    """
    _check_rows("the Fréchet distance", 2, x, y)
    x, y = x.double(), y.double()
    cov_x, cov_y = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(x.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_x)
    root = (
        vectors * values.clamp_min(0).sqrt()
    )  # root rootᵀ = cov_x; cov_x cov_y has the eigenvalues of rootᵀ cov_y root
    cross = torch.linalg.eigvalsh(root.T @ cov_y @ root).clamp_min(0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross
    return float(distance)


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

    `weights` (R, N) are other resamples of x than those of its rows, for example of whole classes.
    """
    distance = KID(x, y)
    of_x = draws(len(x)) if weights is None else weights
    both = torch.cat([of_x, draws(len(y), seed=1)[: len(of_x)]], dim=1)
    return estimate(lambda w: distance(w[:, : len(x)], w[:, len(x) :]), both)


def density_coverage(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Density and coverage of `fake` features (M, D) around `real` ones (N, D).

    Every real row has a ball that reaches to its k-th nearest other real row. Density is the mean number of balls that
    a fake row lies in, over k (1 is expected of real rows); coverage the share of balls with a fake row inside. Raises
    `InputError` for k or fewer real rows. Source: Naeem et al. 2020 (arXiv 2002.09797), Eq. 4 and 5.
    """
    _check_rows(f"density and coverage with k={k}", k + 1, real)
    _check_rows("density and coverage", 1, fake)
    real, fake = real.double(), fake.double()
    radii = torch.cdist(real, real).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
    inside = torch.cdist(real, fake) < radii[:, None]
    return inside.sum().item() / (k * len(fake)), inside.any(dim=1).double().mean().item()


def _check_rows(what: str, least: int, *sets: Tensor) -> None:
    for features in sets:
        if len(features) < least:
            raise InputError(f"{what} needs {least} pictures or more, not {len(features)}; give more")


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures x and y (N, 3, H, W), uint8 or float in [0, 1], (N,)."""
    error = (to_uint8(x).double() - to_uint8(y).double()).square().mean(dim=(1, 2, 3)) / 255**2
    return -10 * error.log10()
