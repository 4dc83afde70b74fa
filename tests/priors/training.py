"""Training by hand, the shortest there is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ppgn.priors.denoiser import Denoiser


def fit(prior: Denoiser, draw: Callable[[int], Tensor], steps: int = 400, batch: int = 256, lr: float = 5e-3) -> None:
    """Descend the denoising loss on codes from `draw`, relative to the linear denoiser's; the rate falls to nothing."""
    optimizer = torch.optim.Adam(prior.parameters(), lr)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5 + 0.5 * math.cos(math.pi * n / steps))
    low, high = prior.sigmas
    for _ in range(steps):
        h = draw(batch)
        sigma = low * (high / low) ** torch.rand(batch)
        found = prior.denoise(h + sigma[:, None] * torch.randn_like(h), sigma)
        weight = 1 + sigma.square().reciprocal()
        loss = (weight * (found - h).square().mean(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    prior.requires_grad_(False)


def randomize(prior: Denoiser, std: float = 0.3) -> Denoiser:
    """Fill every parameter with noise, so that nothing is zero by design."""
    for parameter in prior.parameters():
        parameter.data.normal_(std=std)
    return prior.requires_grad_(False)
