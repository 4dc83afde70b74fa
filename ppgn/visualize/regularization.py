"""What keeps a climb in pixels natural: operators after each step, penalties, and random looks at the image.

An operator takes images x (B, 3, S, S) in [0, 1], the gradient g of the activation there, and the step's number, and
gives images. A penalty takes images and the step's number and gives (B,). Looks take images and give (V, B, 3, s, s).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from ppgn.contracts import NoiseSource
from ppgn.photographs import Photographs

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # the mean colour of ImageNet
Looks = Callable[[Tensor, NoiseSource], Tensor]


@dataclass(frozen=True)
class Yosinski:
    """Decay, blur, and two kinds of pixels turned to the mean colour, in this order, on mean-subtracted images.

    `decay` is a share a step; `blur` the radius in pixels, every `every` steps, the first included; `norm` and
    `contribution` the percentages of an image's pixels that go: those of the smallest norm over channels, and of the
    smallest |Σ x g| over channels.

    Source: Yosinski et al. 2015 (arXiv 1506.06579) and its released toolbox.
    """

    decay: float = 0.0
    blur: float = 0.0
    every: int = 4
    norm: float = 0.0
    contribution: float = 0.0

    def __call__(self, x: Tensor, g: Tensor, i: int) -> Tensor:
        """Images after a step, the gradient before it, the step's number -> images, not yet clipped, (B, 3, S, S)."""
        x = (x - MEAN.to(x)) * (1 - self.decay)
        if self.blur and i % self.every == 0:
            x = gaussian_blur(x, [2 * math.ceil(3 * self.blur) + 1] * 2, [self.blur] * 2)
        if self.norm:
            x = _without_smallest(x, x.square().sum(1, keepdim=True).sqrt(), self.norm)
        if self.contribution:
            x = _without_smallest(x, (x * g).sum(1, keepdim=True).abs(), self.contribution)
        return x + MEAN.to(x)


def _without_smallest(x: Tensor, said: Tensor, percent: float) -> Tensor:
    """Zero where what is said of a pixel, (B, 1, S, S), is below that percentile of its image."""
    limit = torch.quantile(said.flatten(1), percent / 100, dim=1)
    return torch.where(said < limit.view(-1, 1, 1, 1), 0.0, x)


def tv_bregman(x: Tensor, weight: float, iterations: int = 100, eps: float = 1e-3) -> Tensor:
    """Isotropic total-variation denoising of images (B, C, H, W) by split Bregman, each image for itself.

    Gauss-Seidel sweeps of the linear part go over the two colours of a chessboard, so that an image is one tensor
    operation. A row rests once its mean change falls below `eps`, relative to its size.

    Source: Goldstein & Osher 2009; Getreuer 2012 (IPOL), as scikit-image's `denoise_tv_bregman`.
    """
    u = F.pad(x, (1, 1, 1, 1), mode="replicate")
    u[..., :-1, :-1] = F.pad(x, (1, 0, 1, 0), mode="reflect")  # scikit-image mirrors above and left alone
    height, width = x.shape[-2:]
    board = (torch.arange(height)[:, None] + torch.arange(width)).remainder(2).to(x.device)
    dx, dy, bx, by = (torch.zeros_like(u) for _ in range(4))
    lam, norm = 2 * weight, 9 * weight
    going = torch.ones(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    inner = (..., slice(1, -1), slice(1, -1))
    for _ in range(iterations):
        before = u[inner].clone()
        for colour in (0, 1):
            near = u[..., 1:-1, 2:] + u[..., 1:-1, :-2] + u[..., 2:, 1:-1] + u[..., :-2, 1:-1]
            split = dx[..., 1:-1, :-2] - dx[inner] + dy[..., :-2, 1:-1] - dy[inner]
            split = split - bx[..., 1:-1, :-2] + bx[inner] - by[..., :-2, 1:-1] + by[inner]
            solved = (lam * (near + split) + weight * x) / norm
            u[inner] = torch.where((board == colour) & going, solved, u[inner])
        ux, uy = u[..., 1:-1, 2:] - u[inner], u[..., 2:, 1:-1] - u[inner]
        tx, ty = ux + bx[inner], uy + by[inner]
        size = (tx.square() + ty.square()).sqrt()
        shrunk = lam * size / (lam * size + 1)
        for part, total, jump, kept in ((dx, tx, ux, bx), (dy, ty, uy, by)):
            new = shrunk * total
            kept[inner] += jump - new
            part[inner] = new
        change = (u[inner] - before).square().flatten(1).mean(1).sqrt()
        going = going & (change > eps).view(-1, 1, 1, 1)
        if not bool(going.any()):
            break
    return u[inner]


def total_variation(x: Tensor, beta: float = 2.0) -> Tensor:
    """Σ (Δh² + Δv²)^(β/2) of images (B, C, H, W), differences beyond the far edges being zero, (B,).

    Source: Mahendran & Vedaldi 2015 (arXiv 1412.0035), equation 4.
    """
    down = F.pad(x.diff(dim=2), (0, 0, 0, 1)).square()
    right = F.pad(x.diff(dim=3), (0, 1)).square()
    squares = down + right
    return (squares if beta == 2 else (squares + 1e-12).pow(beta / 2)).flatten(1).sum(1)


class Patches:
    """Penalty: squared distances from an image's patches, less their means, to the nearest of a dictionary, summed.

    `dictionary` (K, 3 · size²) are such patches of photographs; which one is nearest is asked every `every` steps.
    """

    def __init__(self, dictionary: Tensor, size: int = 8, weight: float = 0.01, every: int = 10) -> None:
        self.dictionary, self.size, self.weight, self.every = dictionary, size, weight, every
        self.near = torch.empty(0)

    @classmethod
    def of(
        cls, photographs: Photographs, side: int, device: torch.device, count: int = 50_000, size: int = 8
    ) -> Patches:
        """The penalty with `count` patches of photographs seen at `side` pixels, the same ones every time."""
        pictures = photographs.spread(min(2000, len(photographs)), side)
        random = torch.Generator().manual_seed(0)
        rows = torch.randint(len(pictures), (count,), generator=random).tolist()
        tops = torch.randint(side - size + 1, (count, 2), generator=random).tolist()
        found = [pictures[row, :, y : y + size, x : x + size] for row, (y, x) in zip(rows, tops, strict=True)]
        patches = torch.stack(found) / 255
        return cls((patches - patches.mean((2, 3), keepdim=True)).flatten(1).to(device), size)

    def __call__(self, x: Tensor, i: int) -> Tensor:
        """Images (B, 3, S, S) at step number `i` -> the penalty, (B,)."""
        patches = F.unfold(x, self.size, stride=self.size // 2).transpose(1, 2).unflatten(2, (3, -1))
        plain = (patches - patches.mean(3, keepdim=True)).flatten(2)
        if i % self.every == 0:
            with torch.no_grad():
                rows = [torch.cdist(image, self.dictionary).argmin(1) for image in plain]
            self.near = self.dictionary[torch.stack(rows)]
        distances: Tensor = (plain - self.near).square().sum((1, 2))
        return self.weight * distances


def look_once(x: Tensor, noise: NoiseSource) -> Tensor:
    """The image as it is, (1, B, 3, S, S)."""
    return x[None]


@dataclass(frozen=True)
class Wobble:
    """One look: shifted by up to `shift` pixels, scaled and turned at random, grey beyond the edge (Lucid's set)."""

    shift: int = 12
    scales: Sequence[float] = field(default=tuple(1 + (i - 5) / 50 for i in range(11)))
    angles: Sequence[float] = field(default=tuple([*range(-10, 11), 0, 0, 0, 0, 0]))

    def __call__(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """Images (B, 3, S, S) -> (1, B, 3, S, S)."""
        u = noise.uniform("jitter", (4,)).to(x)
        scale = _pick(self.scales, u[:, 0])
        angle = _pick(self.angles, u[:, 1]) * math.pi / 180
        move = (2 * u[:, 2:] - 1) * 2 * self.shift / x.shape[-1]
        cos, sin = angle.cos() / scale, angle.sin() / scale
        turn = torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)
        return _window(x, turn, x.shape[-1])[None]


@dataclass(frozen=True)
class Crops:
    """`count` looks at random squares with noise, of sides from `least` to `most` of the image's, around its middle.

    Source: MACO (Fel et al. 2023); squares are larger and fewer than its authors' in `horama`, as are images smaller.
    """

    count: int = 2
    least: float = 0.5
    most: float = 0.9
    spread: float = 0.15  # standard deviation of the centres, in image sides
    noise: float = 0.05

    def __call__(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """Images (B, 3, S, S) -> (count, B, 3, S, S)."""
        views = []
        for _ in range(self.count):
            side = self.least + (self.most - self.least) * noise.uniform("jitter", (1,)).to(x)[:, 0]
            centre = 2 * self.spread * noise.normal("jitter", (2,)).to(x)
            zero = torch.zeros_like(side)
            turn = [torch.stack([side, zero, centre[:, 0]], 1), torch.stack([zero, side, centre[:, 1]], 1)]
            view = _window(x, torch.stack(turn, 1), x.shape[-1])
            grain = noise.normal("jitter", x.shape[1:]).to(x) + noise.uniform("jitter", x.shape[1:]).to(x) - 0.5
            views.append(view + self.noise * grain)
        return torch.stack(views)


def _pick(values: Sequence[float], u: Tensor) -> Tensor:
    return torch.tensor(values).to(u)[(u * len(values)).long().clamp_max(len(values) - 1)]


def _window(x: Tensor, turn: Tensor, side: int) -> Tensor:
    """What affine maps (B, 2, 3) show of images, (B, 3, side, side), grey beyond the edge."""
    grid = F.affine_grid(turn, [len(x), 3, side, side], align_corners=False)
    return F.grid_sample(x - 0.5, grid, align_corners=False) + 0.5
