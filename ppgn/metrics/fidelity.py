"""How much pictures are like photographs: distances between sets of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.media.images import to_uint8
from ppgn.metrics.bootstrap import Estimate, draws, estimate, summed
from ppgn.metrics.look import look
from ppgn.networks import imagenet

NETWORK, SIZE, LAYER = "efficientnet_lite2", 128, "bn2"
NEIGHBOURS = 5
FRECHET_RESAMPLES = 100  # each decomposes a matrix
BLOCK = 1024  # rows that are compared at once


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


def frechet(x: Tensor, y: Tensor, weights: Tensor | None = None, groups: Tensor | None = None) -> Estimate:
    """Fréchet distance between Gaussians fitted to features x (N, D) and y (M, D), in float64.

    Its interval is over the first 100 of the resamples `weights` (R, N) of x, if there are some, or (R, G) of `groups`
    of its rows, (N,). It depends on N and M (fewer rows score worse): compare only sets of the same sizes. Raises
    `InputError` for fewer than two rows. Source: Heusel et al. 2017 (arXiv 1706.08500), Eq. 6.
    """
    _check_rows("the Fréchet distance", 2, x, y)
    y = y.double()
    of_y = torch.cov(y.T).reshape(y.shape[1], -1)
    columns = len(x) if groups is None else int(groups.max()) + 1
    resamples = y.new_empty(0, columns) if weights is None else weights[:FRECHET_RESAMPLES]
    apart = (_apart_by_rows if len(x) <= x.shape[1] else _apart_by_columns)(x, y.mean(0), of_y)

    def distances(resamples: Tensor) -> Tensor:
        return torch.stack([apart(w if groups is None else w[groups]) for w in resamples])

    return estimate(distances, resamples, centred=True)


def _apart_by_rows(x: Tensor, centre: Tensor, of_y: Tensor) -> Callable[[Tensor], Tensor]:
    """The distance of rows x (N, D) to a Gaussian of mean `centre` as a function of their weights (N,).

    cov_x cov_y has the eigenvalues of A cov_y Aᵀ, A the rows of x centred and weighted, (N, N): AᵀA is cov_x.
    """
    x = x.double() - centre
    kernel = x @ of_y @ x.T

    def distance(weights: Tensor) -> Tensor:
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

    return distance


def _apart_by_columns(x: Tensor, centre: Tensor, of_y: Tensor) -> Callable[[Tensor], Tensor]:
    """The same by way of cov_x itself: S cov_x S has the eigenvalues of cov_x cov_y, S² = cov_y, (D, D)."""
    values, vectors = torch.linalg.eigh(of_y)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T

    def distance(weights: Tensor) -> Tensor:
        total, moment, count = torch.zeros_like(centre), torch.zeros_like(of_y), weights.sum()
        for rows, w in zip(x.split(BLOCK), weights.split(BLOCK), strict=True):
            part = rows.double() - centre
            total += w @ part
            moment += (part * w[:, None]).T @ part
        mean = total / count
        of_x = (moment - count * torch.outer(mean, mean)) / (count - 1)
        roots = torch.linalg.eigvalsh(root @ of_x @ root).clamp_min(0).sqrt()
        apart: Tensor = mean.square().sum() + of_x.trace() + of_y.trace() - 2 * roots.sum()
        return apart

    return distance


def kernel_distance(x: Tensor, y: Tensor, groups: Tensor | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """KID of features x (N, D) and y (M, D) as a function of row weights (R, N) and (R, M) -> (R,).

    With `groups` of the rows of x, (N,), the first are weights of these, (R, G). It is the unbiased MMD² with the
    kernel (u·v/D + 1)³, in float64; every pair of rows is looked at, and no more than sums over groups are kept of x. A
    row drawn several times is never compared with itself, so that a bootstrap is not biased upwards. Raises
    `InputError` for fewer than two rows. Source: Bińkowski et al. 2018 (arXiv 1801.01401), Eq. 4.
    """
    _check_rows("KID", 2, x, y)
    xx, xy, yy = _kernel(x, x, groups, groups), _kernel(x, y, groups), _kernel(y, y)
    of_x = summed(torch.ones(len(x), dtype=torch.float64), groups, len(xx))
    of_y = torch.ones(len(y), dtype=torch.float64)

    def within(kernel: Tensor, w: Tensor, count: Tensor) -> Tensor:
        """The weighted mean of k(u, u') over pairs of different rows, (R,)."""
        return ((w @ kernel) * w).sum(1) / ((w @ count).square() - w.square() @ count)

    def distance(wx: Tensor, wy: Tensor) -> Tensor:
        across = ((wx @ xy) * wy).sum(1) / ((wx @ of_x) * wy.sum(1))
        return within(xx, wx, of_x) + within(yy, wy, of_y) - 2 * across

    return distance


def _kernel(u: Tensor, v: Tensor, of_u: Tensor | None = None, of_v: Tensor | None = None) -> Tensor:
    """(u·v/D + 1)³ of all pairs of rows, 0 of a row with itself, summed over the groups of u and of v where given."""
    shape = [len(rows) if groups is None else int(groups.max()) + 1 for rows, groups in ((u, of_u), (v, of_v))]
    found = torch.zeros(shape, dtype=torch.float64)
    for rows in torch.arange(len(u)).split(BLOCK):
        for columns in torch.arange(len(v)).split(BLOCK):
            kernel = (u[rows].double() @ v[columns].double().T / u.shape[1] + 1) ** 3
            if u is v and rows[0] == columns[0]:
                kernel.fill_diagonal_(0)
            kernel = summed(kernel, None if of_u is None else of_u[rows], shape[0])
            kernel = summed(kernel.T, None if of_v is None else of_v[columns], shape[1]).T
            part = found if of_u is not None else found[rows[0] : rows[-1] + 1]
            part = part if of_v is not None else part[:, columns[0] : columns[-1] + 1]
            part += kernel
    return found


def kid(x: Tensor, y: Tensor, weights: Tensor | None = None, groups: Tensor | None = None) -> Estimate:
    """`kernel_distance` of features x (N, D) and y (M, D) with its interval, both sets resampled.

    `weights` (R, N) are other resamples of x than those of its rows, or (R, G) of `groups`, for example of whole
    classes; the interval is centred, as classes drawn twice make pictures look alike.
    """
    distance, of_x = kernel_distance(x, y, groups), draws(len(x)) if weights is None else weights
    both = torch.cat([of_x, draws(len(y), seed=1)[: len(of_x)]], dim=1)
    count = of_x.shape[1]
    return estimate(lambda w: distance(w[:, :count], w[:, count:]), both, centred=True)


def density_coverage(
    real: Tensor, fake: Tensor, weights: Tensor | None = None, k: int = NEIGHBOURS, groups: Tensor | None = None
) -> tuple[Estimate, Estimate]:
    """Density and coverage of `fake` features (M, D) around `real` ones (N, D), with intervals over `weights` (R, M).

    With `groups` of the fake rows, (M,), these are weights of groups, (R, G). Every real row has a ball that reaches to
    its k-th nearest other real row. Density is the mean number of balls that a fake row lies in, over k (1 is expected
    of real rows); coverage the share of balls with a fake row inside, which grows with M. Raises `InputError` for k or
    fewer real rows. Source: Naeem et al. 2020 (arXiv 2002.09797), Eq. 4, 5.
    """
    _check_rows(f"density and coverage with k={k}", k + 1, real)
    _check_rows("density and coverage", 1, fake)
    real = real.double()
    radii = torch.cdist(real, real).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
    resamples = draws(len(fake)) if weights is None else weights
    places = torch.arange(len(fake)) if groups is None else groups
    inside = real.new_zeros(resamples.shape[1], len(real))  # how many rows of each column lie in each ball
    for part, place in zip(fake.split(BLOCK), places.split(BLOCK), strict=True):
        inside.index_add_(0, place, (torch.cdist(part.double(), real) < radii).double())
    each, hit = summed(real.new_ones(len(fake)), groups, len(inside)), (inside > 0).double()
    density = estimate(lambda w: w @ inside.sum(1) / (k * (w @ each)), resamples)
    return density, estimate(lambda w: (w @ hit > 0).double().mean(1), resamples, centred=True)


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
