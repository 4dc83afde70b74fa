"""`what=samples`: prior and sampler as given, beside simpler ways to draw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, cast

import torch
from torch import Tensor
from tqdm import tqdm

from ppgn.cli import config as configs
from ppgn.cli.evaluation.data import reduce, side_of
from ppgn.cli.evaluation.judges import Judged, Judges
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.sample import build_conditions
from ppgn.contracts import Condition, Generator
from ppgn.errors import unknown
from ppgn.generators.identity import Identity
from ppgn.media import images
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler

PIXEL_STEP = 0.02  # RMS change of a pixel in the first step of gradient ascent on pixels
SHOWN = 8  # pictures in a row of a grid


@dataclass(frozen=True)
class System:
    """One way to draw samples; without a `sampler` the start codes are drawn as they are."""

    model: PPGN
    sampler: Sampler | None
    prior: str
    init: Tensor | None = None  # (seeds, *code_shape)

    def draw(
        self, number: int, condition: Condition, request: Request, advance: Callable[..., None]
    ) -> tuple[Tensor, int]:
        """One picture for each seed of class `number`, and how many chains failed; `advance` follows every step.

        Chains of all classes start from the same codes. Codes that are drawn as they are differ from class to class:
        KID takes pictures for independent.
        """
        if self.sampler is None:
            shape = cast(Generator, self.model.generator).code_shape
            codes = Noise(request.seeds).normal(f"init {number}", shape).split(request.batch_size)
            return images.to_uint8(torch.cat([self.model.decode(part).cpu() for part in codes])), 0
        samples = self.model.sample(
            condition,
            request.seeds,
            sampler=self.sampler,
            prior=self.prior,
            steps=request.steps,
            init=self.init,
            batch_size=request.batch_size,
            callback=advance,
        )
        return samples.images, len(samples.failed)


def _default(request: Request, model: PPGN) -> System:
    sampler: Sampler = configs.build(request.config.sampler)
    return System(model, sampler, request.choose_prior(model, sampler))


def _white_noise(request: Request, model: PPGN) -> System:
    return replace(_default(request, model), sampler=None)


def _dgn_am(request: Request, model: PPGN) -> System:
    """The condition alone pulls, without prior and noise: activation maximisation in code space (DGN-AM)."""
    return replace(_default(request, model), sampler=Langevin(epsilon1=0.0, epsilon3=0.0))


def _pixels(request: Request, model: PPGN) -> System:
    """Gradient ascent on the pixels themselves, from grey with a little noise, seen through jittered views."""
    shape = (3, side_of(model), side_of(model))
    steps = request.steps or configs.build(request.config.sampler).steps
    sampler = Langevin(epsilon1=0.0, epsilon2=PIXEL_STEP, epsilon3=0.0, clip=(0.0, 1.0), steps=steps)
    start = 0.5 + 0.01 * Noise(request.seeds).normal("init", shape)
    return System(PPGN(Identity(shape)).to(request.device), sampler, "gaussian", start)


SYSTEMS: dict[str, Callable[[Request, PPGN], System]] = {
    "default": _default,
    "white_noise": _white_noise,
    "dgn_am": _dgn_am,
    "pixels": _pixels,
}


def samples(request: Request, report: Report) -> None:
    """Samples of every class from every seed by each system, judged alike, with photos of these classes above."""
    for name in request.systems:
        if name not in SYSTEMS:
            raise unknown("system", name, SYSTEMS)
    model = request.load_model()
    systems = {name: SYSTEMS[name](request, model) for name in request.systems}
    conditions = build_conditions(request.config.condition, request.classes, request.device, torch.float32)
    side = side_of(model)
    judges = Judges(request, conditions, request.data.spread(request.n, side))
    of_photos = photos(request, judges, side)
    if of_photos is not None:
        report.add("photos", _figures(of_photos))
    for name, system in systems.items():
        started, drawn, failed = time.perf_counter(), [], 0
        steps = (request.steps or system.sampler.steps) if system.sampler else 0
        total = steps * math.ceil(len(request.seeds) / request.batch_size) * len(conditions)
        with request.progress(total, "step") as bar:
            bar.set_postfix_str(name)
            for number, condition in enumerate(conditions):
                pictures, more = system.draw(number, condition, request, lambda *_, bar=bar: advance(bar))
                drawn.append(reduce(pictures, side))
                failed += more
        seconds = (time.perf_counter() - started) / (len(conditions) * len(request.seeds))
        report.add(name, _figures(judges(drawn)) | {"seconds": Estimate(seconds)}, failed=failed)
        write_grid(request, name, drawn)


def photos(request: Request, judges: Judges, side: int) -> Judged | None:
    """As many real pictures of every class as there are seeds, none of them among those compared with.

    Classes of which there are fewer are left out; None where that leaves too little.
    """
    if judges.classes is None:
        return None
    found = request.data.of_classes(judges.classes, len(request.seeds), side, apart=request.n)
    of = [number for number, index in enumerate(judges.classes) if index in found]
    drawn = [found[judges.classes[number]] for number in of]
    return judges(drawn, of) if sum(map(len, drawn)) > 1 else None


def _figures(judged: Judged) -> dict[str, Estimate | None]:
    ours = {"p": judged.p(), **judged.recognised(), "kid": judged.kid()}
    return ours | {"within": judged.within(), "between": judged.between()}


def write_grid(request: Request, name: str, drawn: Sequence[Tensor]) -> None:
    """Write grid_NAME.png, a row per class."""
    grid = torch.cat([pictures[:SHOWN] for pictures in drawn])
    images.write(request.out / f"grid_{name}.png", images.grid(grid, columns=min(SHOWN, len(request.seeds))))


def advance(bar: tqdm[NoReturn]) -> None:
    """Count a step; its answer must not reach the chain, which would stop."""
    bar.update()
