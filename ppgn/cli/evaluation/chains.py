"""One picture for every condition, from chains and from simpler sources, and how they compare."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ppgn.cli import config as configs
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.evaluation.samples import PIXEL_STEP
from ppgn.cli.results import describe
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition, Generator
from ppgn.generators.identity import Identity
from ppgn.media import images
from ppgn.metrics import bootstrap
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler

Pictures = tuple[Tensor, Tensor]  # uint8 (N, 3, H, W), and the index of each one's condition, (N,)
Judge = Callable[[Tensor, Tensor], Mapping[str, Tensor]]  # `Pictures` -> values of each, (N,)


@dataclass(frozen=True)
class Row:
    """What was measured of one source of pictures."""

    name: str
    figures: dict[str, Estimate]
    pictures: Tensor  # uint8 (N, 3, H, W)
    targets: Tensor  # (N,), indices of conditions
    values: dict[str, Tensor]  # what the figures sum up, (N,) each


@dataclass(frozen=True)
class Chains:
    """One chain for every condition and seed; condition number c takes the seeds as they are plus c · their number."""

    model: PPGN
    sampler: Sampler
    seeds: Sequence[int]
    prior: str | None = None
    steps: int | None = None
    batch_size: int = 8
    grey: bool = False  # start from grey pictures with a little noise instead of codes N(0, I)
    advance: Callable[[], object] = lambda: None  # called after every step of a batch

    @staticmethod
    def of(request: Request, model: PPGN, advance: Callable[[], object]) -> Chains:
        """Prior and sampler as the request has them."""
        sampler: Sampler = configs.build(request.config.sampler)
        prior = request.choose_prior(model, sampler)
        return Chains(model, sampler, request.seeds, prior, request.steps, request.batch_size, advance=advance)

    def total(self, conditions: int) -> int:
        """How many steps the batches of so many conditions make together."""
        return math.ceil(conditions * len(self.seeds) / self.batch_size) * (self.steps or self.sampler.steps)

    def draw(self, conditions: Sequence[Condition]) -> Pictures:
        """The last picture of every chain, condition after condition."""
        targets, seeds = self._targets(len(conditions)), self.seeds_of(len(conditions))
        drawn = []
        for rows in torch.arange(len(seeds)).split(self.batch_size):
            some = [seeds[row] for row in rows]
            samples = self.model.sample(
                each_row([conditions[number] for number in targets[rows].tolist()]),
                some,
                sampler=self.sampler,
                prior=self.prior,
                steps=self.steps,
                init=self._codes(some) if self.grey else None,
                batch_size=len(some),
                callback=self._count,
            )
            drawn.append(samples.images)
        return torch.cat(drawn), targets

    def start(self, conditions: int) -> Pictures:
        """What the start codes N(0, I) of the chains of so many conditions show as they are."""
        seeds = self.seeds_of(conditions)
        batches = (seeds[first : first + self.batch_size] for first in range(0, len(seeds), self.batch_size))
        drawn = [self.model.decode(self._codes(some).to(self.model.device)).cpu() for some in batches]
        return images.to_uint8(torch.cat(drawn)), self._targets(conditions)

    def on_pixels(self) -> Chains:
        """Gradient ascent on the pixels themselves, from grey with a little noise, seen through jittered views."""
        shape = cast(Generator, self.model.generator).signal_shape
        steps = self.steps or self.sampler.steps
        sampler = Langevin(epsilon1=0.0, epsilon2=PIXEL_STEP, epsilon3=0.0, clip=(0.0, 1.0), steps=steps)
        model = PPGN(Identity(shape)).to(self.model.device)
        return replace(self, model=model, sampler=sampler, prior="gaussian", grey=True)

    def seeds_of(self, conditions: int) -> list[int]:
        """The seeds of so many conditions, one after the other."""
        return [seed + number * len(self.seeds) for number in range(conditions) for seed in self.seeds]

    def _targets(self, conditions: int) -> Tensor:
        return torch.arange(conditions).repeat_interleave(len(self.seeds))

    def _codes(self, seeds: Sequence[int]) -> Tensor:
        start = Noise(seeds).normal("init", cast(Generator, self.model.generator).code_shape)
        return 0.5 + 0.01 * start if self.grey else start

    def _count(self, *_: object) -> None:
        self.advance()  # its answer must not reach the chain, which would stop


def compare(
    conditions: Sequence[Condition], sources: Mapping[str, Callable[[], Pictures]], judge: Judge
) -> Iterator[Row]:
    """Judge the pictures of every source: "log_prob", the condition's own log p, and what the judge says of each.

    Figures are means over pictures, of ranks the median, with intervals over resampled conditions; "seconds" is what a
    picture took to draw.
    """
    weights = bootstrap.draws(len(conditions))
    for name, source in sources.items():
        started = time.perf_counter()
        pictures, targets = source()
        seconds = (time.perf_counter() - started) / len(pictures)
        values = {"log_prob": _own(conditions, pictures, targets), **judge(pictures, targets)}
        mine = weights[:, targets]
        figures = {
            key: median(value, mine) if key.endswith("rank") else bootstrap.mean(value, mine)
            for key, value in values.items()
        }
        yield Row(name, figures | {"seconds": Estimate(seconds)}, pictures, targets, values)


def median(values: Tensor, weights: Tensor) -> Estimate:
    """The median of values (N,), the lower of two in the middle, with its interval over row weights (R, N)."""
    ordered, order = values.double().sort()

    def weighted(rows: Tensor) -> Tensor:
        below = rows[:, order].cumsum(1)
        return ordered[(below >= below[:, -1:] / 2).double().argmax(1)]

    return bootstrap.estimate(weighted, weights)


def _own(conditions: Sequence[Condition], pictures: Tensor, targets: Tensor) -> Tensor:
    """The log p of every picture by its own condition, without the sampler's views, (N,) float64."""
    values = torch.empty(len(pictures), dtype=torch.float64)
    for number in targets.unique().tolist():
        rows = (targets == number).nonzero().flatten()
        said = describe(conditions[number], pictures[rows])
        values[rows] = torch.tensor([row["log_prob"] for row in said], dtype=torch.float64)
    return values


def publish(
    request: Request, report: Report, chains: Chains, names: Sequence[str], rows: Iterator[Row], **facts: Any
) -> None:
    """Give every row to the report; of drawn pictures with each one's target, seed and values, and in grid_ROW.png.

    `names` are those of the conditions; `facts` go with every row.
    """
    seeds = chains.seeds_of(len(names))
    for row in rows:
        if row.name == "photographs":
            report.add(row.name, row.figures, **facts)
            continue
        targets = [names[number] for number in row.targets.tolist()]
        columns = {key: values.tolist() for key, values in row.values.items()}
        told = [
            {"target": target, "seed": seed, **dict(zip(columns, values, strict=True))}
            for target, seed, *values in zip(targets, seeds, *columns.values(), strict=True)
        ]
        report.add(row.name, row.figures, **facts, pictures=told)
        images.write(request.out / f"grid_{row.name}.png", images.grid(row.pictures, captions=targets))
