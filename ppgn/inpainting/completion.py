"""The chains that fill holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from ppgn.conditions.context import Anything
from ppgn.contracts import Condition, Generator, NoiseConditionalPrior, Samples
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting.imputation import told
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.settings import Settings
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import Callback, run_chains
from ppgn.samplers.noise import Noise


def size_of(model: PPGN) -> tuple[int, int]:
    """The resolution (S, S') at which a model works on a hole.

    Raises `InputError` for a model without an encoder, and for one that draws no pictures, RGB or grey.
    """
    shape = tuple(cast(Generator, model.generator).signal_shape)
    if model.encoder is None:
        raise InputError("model: it has no encoder, so it cannot inpaint; give another model")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"model: it draws signals of the shape {shape}; only pictures, (3 or 1, H, W), can be filled")
    return shape[1:]


def complete(
    model: PPGN,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    settings: Settings,
    *,
    condition: Condition | None = None,
    prior: Any = None,
    callback: Callback | None = None,
) -> Samples:
    """Walk one chain for each of the `problems`, with the seed beside it, all in one batch -> `Samples`.

    Their signals are (N, 3 or 1, S, S'), for `Problem.complete`. condition: what to draw; None leaves it to what is
    known. prior: as `PPGN.choose_prior` takes it. Raises `InputError` as `size_of` does, and for a prior that does not
    suit.
    """
    size_of(model)
    image = torch.stack([problem.image for problem in problems]).to(model.device, model.dtype)
    known = torch.stack([problem.known for problem in problems]).to(model.device, model.dtype)
    start = image if settings.fill == "harmonic" else torch.stack([problem.masked for problem in problems])
    (target,) = model.targets([condition or Anything()], settings.sampler, prior)
    target = replace(target, context=settings.context(image, known))
    if condition is None:
        target = replace(target, transform=None)
    whitened = isinstance(model.encoder, FeatureEncoder) and model.encoder.dim is not None
    telling = settings.imputations and whitened and isinstance(settings.sampler, Annealed)
    if telling and isinstance(target.prior, NoiseConditionalPrior):  # another one will be refused by the sampler
        target = replace(target, prior=told(model, target.prior, problems, settings.imputations))
    noise, code = Noise(seeds, model.device, model.dtype), model.encode(start)
    fresh = noise.normal("init", tuple(code.shape[1:]))
    init = settings.keep * code + math.sqrt(1 - settings.keep**2) * fresh
    return run_chains([target], settings.sampler, noise, steps=settings.sampler.steps, init=init, callback=callback)
