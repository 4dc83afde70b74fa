"""`what=variants`: the samplers of the PPGN family, each as its experiment sets it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ppgn.cli import config as configs
from ppgn.cli.evaluation.data import reduce, side_of
from ppgn.cli.evaluation.judges import Judged, Judges
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.evaluation.samples import advance, photos, write_grid
from ppgn.cli.sample import build_conditions
from ppgn.contracts import Condition
from ppgn.metrics import bootstrap
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN, UntrainedError
from ppgn.samplers.sampler import Sampler


@dataclass
class Variant:
    """An experiment ready to draw. Raises `UntrainedError` where its model or its prior has to be trained first."""

    name: str
    request: Request
    model: PPGN = field(init=False)
    sampler: Sampler = field(init=False)
    prior: str = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.request.load_model()
        self.sampler = configs.build(self.request.config.sampler)
        self.prior = self.request.choose_prior(self.model, self.sampler)

    @property
    def steps(self) -> int:
        """Steps to a sample, and from there to the next in the same chain."""
        return self.request.steps or self.sampler.steps

    @cached_property
    def conditions(self) -> list[Condition]:
        """That of every class, with the gradient that the sampler wants."""
        request = self.request
        return build_conditions(request.config.condition, request.classes, request.device, torch.float32)

    def facts(self) -> dict[str, object]:
        """How it draws."""
        sampler = {"name": self.request.options["sampler"], **configs.leaves(self.request.config.sampler)}
        return {"model": str(self.request.config.model), "prior": self.prior, "sampler": sampler, "lag": self.steps}

    def draw(self, condition: Condition, side: int, advance: Callable[..., None]) -> tuple[Tensor, Tensor, int]:
        """One picture for each seed, the next one of the same chain, and how many chains failed.

        The first is what `ppgn sample` draws. The chain then goes on from its code through as many steps again;
        `advance` follows every step.
        """
        samples = self.model.sample(
            [condition, condition],
            self.request.seeds,
            sampler=self.sampler,
            prior=self.prior,
            steps=self.request.steps,
            batch_size=self.request.batch_size,
            callback=advance,
        )
        pictures = reduce(samples.images, side)
        return pictures[::2], pictures[1::2], len(samples.failed)


def variants(request: Request, report: Report) -> None:
    """Samples of every class from every seed by each variant, judged alike, with photos of these classes above.

    Intervals are over classes. `mixing` is the distance of a sample to the next one of its chain, `lag` steps on;
    `seconds` are those of one sample.
    """
    ready: dict[str, Variant | str] = {}
    for name, of_variant in request.variants.items():
        try:
            ready[name] = Variant(name, of_variant)
        except UntrainedError as error:
            ready[name] = str(error)
    able = {name: variant for name, variant in ready.items() if isinstance(variant, Variant)}
    if able:
        side = min(side_of(variant.model) for variant in able.values())
        judges = Judges(request, next(iter(able.values())).conditions, request.data.spread(request.n, side))
        of_photos = photos(request, judges, side)
        if of_photos is not None:
            report.add("photos", _figures(of_photos))
    for name, variant in ready.items():
        if isinstance(variant, Variant):
            _measure(variant, judges, side, report)
        else:
            report.skip(name, variant)


def _measure(variant: Variant, judges: Judges, side: int, report: Report) -> None:
    request, drawn, later, seconds, failed = variant.request, [], [], [], 0
    total = 2 * variant.steps * math.ceil(len(request.seeds) / request.batch_size) * len(variant.conditions)
    with request.progress(total, "step") as bar:
        bar.set_postfix_str(variant.name)
        for condition in variant.conditions:
            started = time.perf_counter()
            first, second, more = variant.draw(condition, side, lambda *_, bar=bar: advance(bar))
            seconds.append((time.perf_counter() - started) / (2 * len(request.seeds)))
            drawn.append(first)
            later.append(second)
            failed += more
    judged = judges(drawn)
    figures = _figures(judged) | {
        "mixing": judged.mixing(later),
        "seconds": bootstrap.mean(torch.tensor(seconds), judged.weights),
    }
    report.add(variant.name, figures, failed=failed, **variant.facts())
    write_grid(request, variant.name, drawn)


def _figures(judged: Judged) -> dict[str, Estimate | None]:
    return {**judged.recognised(), **judged.likeness(), "within": judged.within()}
