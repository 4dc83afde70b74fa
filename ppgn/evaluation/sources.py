"""What draws pictures for conditions from seeds: chains, start codes as they are, ascent on pixels."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from tqdm import tqdm

from ppgn import building
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition, Generator, Prior
from ppgn.generators.identity import Identity
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.photographs import square
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler
from ppgn.shards import Stored

SIDE = 64  # pixels; larger pictures are reduced to it before they are judged, if nothing else is asked for
SHOWN = 8  # pictures of a condition in a grid
PIXEL_STEP = 0.02  # RMS change of a pixel in the first step of gradient ascent on pixels


@dataclass(frozen=True)
class Drawn:
    """Pictures uint8 (N, 3, S, S), condition after condition, the number of each one's condition (N,), how it went."""

    pictures: Tensor
    targets: Tensor
    seeds: tuple[int, ...] = ()
    seconds: Tensor | None = None  # (N,), what each took
    failed: int = 0  # chains that met a number that is not finite
    beside: Tensor | None = None  # (N, 3, S, S): what the same chain drew as many steps on, or an original

    @staticmethod
    def joined(parts: Iterable[Drawn]) -> Drawn:
        """Several batches as one; `seconds` and `beside` are those of all or of none."""
        parts = list(parts)
        columns: dict[str, Any] = {}
        for name in ("pictures", "targets", "seconds", "beside"):
            values = [getattr(part, name) for part in parts]
            columns[name] = None if values[0] is None else torch.cat(values)
        seeds = tuple(seed for part in parts for seed in part.seeds)
        return Drawn(seeds=seeds, failed=sum(part.failed for part in parts), **columns)


@dataclass(frozen=True)
class Source:
    """Draws a picture for every condition and seed: the last state of a chain, or without `sampler` its start code.

    Seeds: with `own_seeds` condition number c takes the seeds plus c · their number, so no two pictures start alike.
    Otherwise all conditions take the seeds as they are, and the chains of all start from the same codes; without
    `sampler` every condition then has codes of its own all the same, for KID takes pictures for independent.
    """

    model: PPGN
    sampler: Sampler | None
    prior: Prior | None
    seeds: tuple[int, ...]
    steps: int | None = None  # for each picture; None: the sampler's own
    batch_size: int = 8
    own_seeds: bool = False
    onward: bool = False  # whether a chain goes on to a later picture
    reduce_to: int = SIDE  # pixels a side, of larger pictures
    grey: bool = False  # whether chains start from grey pictures with a little noise instead of codes N(0, I)

    @staticmethod
    def of(
        model: PPGN,
        sampler: Any,
        prior: Any,
        seeds: tuple[int, ...],
        conditions: Sequence[Condition] = (),
        **more: Any,
    ) -> Source:
        """Chains of a sampler and a prior by name, mapping or object; None is what suits, as `PPGN.suited` says."""
        made = Sampler.of(building.part("sampler", model.suited(sampler, prior, conditions)))
        return Source(model, made, model.choose_prior(prior, made), seeds, **more)

    def start_codes(self) -> Source:
        """What the start codes N(0, I) show as they are."""
        return replace(self, sampler=None)

    def on_pixels(self) -> Source:
        """Gradient ascent on the pixels themselves, from grey with a little noise, seen through jittered views."""
        steps = self.length
        sampler = Langevin(epsilon1=0.0, epsilon2=PIXEL_STEP, epsilon3=0.0, clip=(0.0, 1.0), steps=steps)
        model = PPGN(Identity(cast(Generator, self.model.generator).signal_shape)).to(self.model.device)
        return replace(self, model=model, sampler=sampler, prior=model.choose_prior("gaussian"), grey=True)

    @property
    def length(self) -> int:
        """Steps of a chain to a picture."""
        return 0 if self.sampler is None else self.steps or self.sampler.steps

    def draw(self, *given: Any, **more: Any) -> Drawn:
        """All that `stream` gives."""
        return Drawn.joined(self.stream(*given, **more))

    def stream(
        self, conditions: Sequence[Condition], name: str = "", progress: bool = False, side: int | None = None
    ) -> Iterator[Drawn]:
        """Batches of pictures of all conditions, `side` pixels wide; a bar called `name` shows the progress."""
        step = len(self.seeds) * self.own_seeds
        every = [[(number, seed + number * step) for seed in self.seeds] for number in range(len(conditions))]
        apart = not self.own_seeds or hasattr(self.sampler, "start")  # anchors are those of one condition
        groups = every if apart else [[row for rows in every for row in rows]]
        size, kept = self.batch_size, 1 + (self.onward and self.sampler is not None)
        batches = [rows[first : first + size] for rows in groups for first in range(0, len(rows), size)]
        with bar(progress, self.length * len(batches) * kept, name, "step") as steps:
            for batch in batches:
                started, (numbers, seeds) = time.perf_counter(), zip(*batch, strict=True)
                failed = 0
                if self.sampler is None:
                    stream = "init" if self.own_seeds else f"init {numbers[0]}"
                    pictures = self.model.decode(self._codes(seeds, stream).to(self.model.device)).cpu()
                else:
                    samples = self.model.sample(
                        [each_row([conditions[number] for number in numbers])] * kept,
                        seeds,
                        sampler=self.sampler,
                        prior=self.prior,
                        steps=self.steps,
                        init=self._codes(seeds, "init") if self.grey else None,
                        batch_size=len(seeds),
                        callback=lambda *_, steps=steps: steps.update() and None,
                    )
                    pictures, failed = samples.images, len(samples.failed)
                shown = square(pictures, side or side_of(self.model, self.reduce_to))
                seconds = torch.full((len(seeds),), (time.perf_counter() - started) / len(shown))
                later = shown[1::2] if kept > 1 else None
                yield Drawn(shown[::kept], torch.tensor(numbers), seeds, seconds, failed, later)

    def _codes(self, seeds: Sequence[int], stream: str) -> Tensor:
        codes = Noise(seeds).normal(stream, cast(Generator, self.model.generator).code_shape)
        return 0.5 + 0.01 * codes if self.grey else codes


def side_of(model: PPGN, most: int = SIDE) -> int:
    """At what size a model's pictures are judged: theirs, or `most` where they are larger."""
    return min(most, *cast(Generator, model.generator).signal_shape[1:])


def bar(progress: bool, total: int, name: str, unit: str) -> tqdm[NoReturn]:
    """A bar on stderr, if there is to be `progress`."""
    interval = 0.1 if sys.stderr.isatty() else 2.0
    return tqdm(total=total, desc=name, unit=unit, mininterval=interval, disable=not progress)


def in_folder(samples: Stored, side: int, batch_size: int, progress: bool = False) -> Iterator[Drawn]:
    """The pictures in a folder of samples, batch by batch, of which one is in memory at a time."""
    with bar(progress, len(samples), "stored", "sample") as done:
        for first in range(0, len(samples), batch_size):
            batch = samples[first : first + batch_size]
            yield Drawn(square(batch.signals, side), torch.tensor(batch.targets), batch.seeds, failed=len(batch.failed))
            done.update(len(batch))


def grid(drawn: Drawn, captions: Sequence[str] | None = None, shown: int = SHOWN) -> Any:
    """Up to `shown` pictures of every condition in a row; with `captions`, all, larger, with their condition's."""
    if captions is not None:
        return images.grid(
            drawn.pictures, captions=[captions[number] for number in drawn.targets.tolist()], scale="auto"
        )
    present, counts = drawn.targets.unique(return_counts=True)
    each = min(shown, int(counts.min()))
    rows = torch.cat([drawn.pictures[drawn.targets == number][:each] for number in present])
    return images.grid(rows, columns=each)
