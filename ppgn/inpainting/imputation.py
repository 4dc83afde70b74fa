"""What a picture with a hole says of the code of the whole picture: multiple imputation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ppgn.contracts import Generator, NoiseConditionalPrior
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting.problem import Problem
from ppgn.media.blending import harmonic
from ppgn.model import PPGN
from ppgn.priors.observed import Observed
from ppgn.samplers.ancestral import draw
from ppgn.samplers.noise import Noise

RESIDUAL = 0.1  # how much of what the code leaves out of the features counts as noise of what it says of them
LEAST = 1e-6  # of a feature's variance over all pictures: the least noise


def told(model: PPGN, prior: NoiseConditionalPrior, problems: Sequence[Problem], count: int) -> Observed:
    """The prior that is told, row by row, what `observe` finds with `count` draws from it in the problems' holes."""
    noise = Noise(range(-count, 0), model.device, model.dtype)  # no chain has such seeds
    fills = model.decode(draw(prior, cast(Generator, model.generator).code_shape, noise))
    said: dict[int, tuple[Tensor, Tensor]] = {}
    for problem in problems:
        if id(problem) not in said:
            hole = (problem.known[0] == 0).to(fills.device)
            said[id(problem)] = observe(model.encoder, problem.image.to(fills), hole, fills)
    rows = [said[id(problem)] for problem in (problems if len(said) > 1 else problems[:1])]
    precision, information = (torch.stack(part) for part in zip(*rows, strict=True))
    return Observed(prior, precision, information.to(fills))


@torch.no_grad()
def observe(encoder: FeatureEncoder, image: Tensor, hole: Tensor, fills: Tensor) -> tuple[Tensor, Tensor]:
    """A likelihood of codes, exp(bᵀh − ½ hᵀΛh): Λ, (D, D), and b, (D,), in float64.

    The hole (S, S'), bool, of `image` (3, S, S') in [0, 1] is filled with each of the `fills` (K, 3 or 1, S, S'), no
    seam left. The features of the filled pictures have a mean f̄, and variances v that are large where the hole decides.
    A whole picture with the code h has features m + A h + r, where r is what its code leaves out. So f̄ is taken to be
    N(m + A h, v + `RESIDUAL` · r²), with r² the mean over the filled pictures, and with at least `LEAST` of all that a
    feature varies as its variance.

    That is an approximation: r is not independent of h where the whitening weighs layers unlike. The regression of
    features on codes in A's place finds codes that are nearer, but pins them less, and chains fill holes less well.

    Raises `InputError` for fewer than two fills, and for an encoder without a whitening.
    Source: Rubin 1987 (multiple imputation).
    """
    if len(fills) < 2:
        raise InputError(f"imputation: {len(fills)} fills have no variance; give 2 or more")
    directions = encoder.directions()
    apart = image - fills
    smooth = harmonic(apart.flatten(0, 1), hole).view_as(apart)  # every channel of every fill is a system of its own
    filled = torch.where(hole, (fills + smooth).clamp(0, 1), image)
    features = encoder.features(filled).double() - encoder.mean
    left_out = features - features @ encoder.whitening.double().T @ directions.T
    noise = features.var(dim=0) + RESIDUAL * left_out.square().mean(dim=0)
    noise = noise.clamp_min(LEAST * directions.square().sum(dim=1))
    weighted = torch.where(noise[:, None] > 0, directions / noise[:, None], 0)  # of a dead feature both are 0
    return weighted.T @ directions, weighted.T @ features.mean(dim=0)
