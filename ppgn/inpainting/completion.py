"""The chains that fill holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ppgn.anchors import Answers
from ppgn.conditions.context import Anything
from ppgn.conditions.rows import EachRow
from ppgn.contracts import Condition, Generator, NoiseConditionalPrior, Samples
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting.anchoring import Told, ToldBank
from ppgn.inpainting.imputation import told
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.regression import Drawings, drawings, fitted
from ppgn.inpainting.settings import Settings
from ppgn.model import PPGN
from ppgn.posterior import Posterior
from ppgn.samplers.anchored import Anchored
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
    noise = Noise(seeds, model.device, model.dtype)
    if isinstance(settings.sampler, Anchored):
        conditions: Any = list(condition.terms) if isinstance(condition, EachRow) else [condition] * len(problems)
        drawn = drawings(model, target.anchoring, settings.drawings)
        target, init = _anchored(model, target, problems, seeds, conditions, settings, drawn)
    else:
        target = _told(model, target, problems, settings)
        code = model.encode(start)
        fresh = noise.normal("init", tuple(code.shape[1:]))
        init = settings.keep * code + math.sqrt(1 - settings.keep**2) * fresh
    return run_chains([target], settings.sampler, noise, steps=settings.sampler.steps, init=init, callback=callback)


def _told(model: PPGN, target: Posterior, problems: Sequence[Problem], settings: Settings) -> Posterior:
    """The target whose prior is told by imputations, where settings, encoder and prior are such."""
    whitened = isinstance(model.encoder, FeatureEncoder) and model.encoder.dim is not None
    telling = settings.imputations and whitened and isinstance(settings.sampler, Annealed)
    if not telling or not isinstance(target.prior, NoiseConditionalPrior):  # which the sampler will refuse
        return target
    return replace(target, prior=told(model, target.prior, problems, settings.imputations))


def _anchored(
    model: PPGN,
    target: Posterior,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    conditions: Sequence[Condition | None],
    settings: Settings,
    drawn: Drawings,
) -> tuple[Posterior, Tensor]:
    """The target whose bank is told the rest of each picture, and the anchor of each chain, (N, D)."""
    bank = target.anchoring
    answers = Answers(cast(Generator, model.generator), bank)
    told: dict[int, Told] = {}
    found: dict[tuple[int, int], Any] = {}
    starts = []
    for problem, condition, seed in zip(problems, conditions, seeds, strict=True):
        if id(problem) not in told:
            exact = partial(fitted, model, bank, settings.drawings)
            regression = drawn.regression(problem.known[0] == 0, exact)
            mean = regression.mean(model.encode(problem.image[None]))[0]
            told[id(problem)] = Told(bank, regression, mean, settings.candidates)
        pair = id(problem), id(condition)
        if pair not in found:
            guesses = torch.zeros(len(bank)) if condition is None else answers.guesses(condition)
            found[pair] = told[id(problem)].anchors(guesses)
        here = replace(target, find_anchors=lambda *_, pair=pair: found[pair])
        starts.append(cast(Anchored, settings.sampler).start(here, Noise([seed], model.device, model.dtype)))
    return replace(target, prior=ToldBank(bank, [told[id(problem)] for problem in problems])), torch.cat(starts)
