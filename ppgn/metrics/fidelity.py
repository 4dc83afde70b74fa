"""How much pictures are like photographs: distances between sets of features."""

from __future__ import annotations

from collections.abc import Callable

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
            maps: Tensor = self.network.features(x, [LAYER])[LAYER]
            return maps.mean(dim=(2, 3)).float()

        return look(averaged, pictures, self.network.preprocessing.gain, self.batch_size)


def frechet(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Estimate:
    """Fréchet distance between Gaussians fitted to features x (N, D) and y (M, D), in float64.

    Its interval is over the first 100 of the resamples `weights` (R, N) of x, if there are some. It depends on N and M
    (fewer rows score worse): compare only sets of the same sizes. Raises `InputError` for fewer than two rows.
    Source: Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.
    """
    _check_rows("the Fréchet distance", 2, x, y)
    x, y = x.double(), y.double()
    of_y = torch.cov(y.T).reshape(y.shape[1], -1)
    x = x - y.mean(0)
    kernel = x @ of_y @ x.T

    def distance(weights: Tensor) -> Tensor:
        """cov_x cov_y has the eigenvalues of A cov_y Aᵀ, A the rows of x centred and weighted, (N,): AᵀA is cov_x."""
        drawn = weights > 0  # the others are rows of zeros
        rows, inner, w = x[drawn], kernel[drawn][:, drawn], weights[drawn]
        count = w.sum()
        mean = w @ rows / count
        scale = (w / (count - 1)).sqrt()
        shift = inner @ w / count
        centred = inner - shift - shift[:, None] + w @ shift / count
        values = torch.linalg.eigvalsh(scale[:, None] * centred * scale)[-x.shape[1] :]  # the others are 0
        variance = (scale[:, None] * (rows - mean)).square().sum()
        apart: Tensor = mean.square().sum() + variance + of_y.trace() - 2 * values.clamp_min(0).sqrt().sum()
        return apart

    resamples = x.new_empty(0, len(x)) if weights is None else weights[:FRECHET_RESAMPLES]
    return estimate(lambda rows: torch.stack([distance(w) for w in rows]), resamples, centred=True)


def kernel_distance(x: Tensor, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """KID of features x (N, D) and y (M, D) as a function of row weights (R, N) and (R, M) -> (R,).

    It is the unbiased MMD² with the kernel (u·v/D + 1)³. A row drawn several times is never compared with itself, so
    that a bootstrap is not biased upwards. Raises `InputError` for fewer than two rows.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), Eq. 4.
    """
    _check_rows("KID", 2, x, y)
    x, y = x.double(), y.double()
    xx, yy, xy = ((u @ v.T / u.shape[1] + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
    for kernel in (xx, yy):
        kernel.fill_diagonal_(0)

    def within(kernel: Tensor, w: Tensor) -> Tensor:
        """The weighted mean of k(u, u') over pairs of different rows, (R,)."""
        return ((w @ kernel) * w).sum(1) / (w.sum(1).square() - w.square().sum(1))

    def distance(wx: Tensor, wy: Tensor) -> Tensor:
        across = ((wx @ xy) * wy).sum(1) / (wx.sum(1) * wy.sum(1))
        return within(xx, wx) + within(yy, wy) - 2 * across

    return distance


def kid(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Estimate:
    """`kernel_distance` of features x (N, D) and y (M, D) with its interval, both sets resampled.

    `weights` (R, N) are other resamples of x than those of its rows, for example of whole classes; the interval is
    centred, as classes drawn twice make pictures look alike.
    """
    distance, of_x = kernel_distance(x, y), draws(len(x)) if weights is None else weights
    both = torch.cat([of_x, draws(len(y), seed=1)[: len(of_x)]], dim=1)
    return estimate(lambda w: distance(w[:, : len(x)], w[:, len(x) :]), both, centred=True)


def density_coverage(
    real: Tensor, fake: Tensor, weights: Tensor | None = None, k: int = NEIGHBOURS
) -> tuple[Estimate, Estimate]:
    """Density and coverage of `fake` features (M, D) around `real` ones (N, D), with intervals over `weights` (R, M).

    Every real row has a ball that reaches to its k-th nearest other real row. Density is the mean number of balls that
    a fake row lies in, over k (1 is expected of real rows); coverage the share of balls with a fake row inside, which
    grows with M. Raises `InputError` for k or fewer real rows. Source: Naeem et al. 2020 (arXiv 2002.09797), Eq. 4, 5.
    """
    _check_rows(f"density and coverage with k={k}", k + 1, real)
    _check_rows("density and coverage", 1, fake)
    real, fake = real.double(), fake.double()
    radii = torch.cdist(real, real).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
    inside = (torch.cdist(real, fake) < radii[:, None]).double()
    resamples = draws(len(fake)) if weights is None else weights
    density = estimate(lambda w: w @ inside.sum(0) / (k * w.sum(1)), resamples)
    return density, estimate(lambda w: (w @ inside.T > 0).double().mean(1), resamples, centred=True)


def realism(real: Tensor, k: int = 3) -> Callable[[Tensor], Tensor]:
    """How real pictures are, features (M, D) -> (M,), beside features of `real` ones (N, D); from 1 on like these.

    It is the largest quotient, over real rows, of the distance of a row to its k-th nearest other one and to the
    picture; the half of the rows with the larger of these radii is left out. Raises `InputError` for k or fewer rows.
    Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), section 5.
    """
    _check_rows(f"realism with k={k}", k + 1, real)
    real = real.float().cpu()
    radii = torch.cdist(real, real).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
    kept = radii <= radii.median()
    real, radii = real[kept], radii[kept]
    return lambda features: (radii / torch.cdist(features.float().cpu(), real).clamp_min(1e-12)).amax(dim=1)


def _check_rows(what: str, least: int, *sets: Tensor) -> None:
    for features in sets:
        if len(features) < least:
            raise InputError(f"{what} needs {least} pictures or more, not {len(features)}; give more")


def psnr(x: Tensor, y: Tensor, where: Tensor | None = None) -> Tensor:
    """PSNR in dB, (N,), of pictures (N, 3, H, W), uint8 or in [0, 1], over the pixels `where`, bool (N, H, W)."""
    error = (to_uint8(x).double() - to_uint8(y).double()).square().mean(dim=1) / 255**2
    counted = torch.ones_like(error) if where is None else where.double()
    return -10 * ((error * counted).sum((1, 2)) / counted.sum((1, 2))).log10()
