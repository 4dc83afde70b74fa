"""Samples that were drawn, what a condition and a judge say of them, and what a person looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from ppgn import files, shards
from ppgn.contracts import Condition, Medium, Samples
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.medium import Pictures
from ppgn.second_opinion import SecondOpinion
from ppgn.shards import Part

TILES = 64  # of a grid


class Drawn:
    """The samples of a run so far.

    `samples` hold them as their medium stores them, a row each; `signals`, `images` (uint8 (N, 3, H, W)), `codes`,
    `log_prob` and `seeds` are theirs, `rows` tells of each what its condition says of it. All are read from files when
    asked for once they are more than `shards.MOST`.

    `conditions`, one per target, describe the samples; `about` goes into the report as it is. With `labels` every tile
    of the grid says what it is; `scale` is how many times as large as its picture it is, or "auto"
    (`ppgn.media.images.grid`). Samples whose p does not exceed `threshold` are left out, as in the sampler released
    with PPGN (arXiv 1612.00005). `opinion` says of every picture what a judge that took no part makes of it, in its row
    as "judge"; `realism` how real it is, as "realism". The grid shows the `best` seeds alone, if that is a number, by
    `rank` "judge" or "realism".
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        about: Mapping[str, Any],
        medium: Medium | None = None,
        *,
        labels: bool = False,
        threshold: float | None = None,
        scale: int | str = "auto",
        opinion: SecondOpinion | None = None,
        realism: Callable[[Tensor], Tensor] | None = None,
        best: int | None = None,
        rank: str = "judge",
    ) -> None:
        self.conditions, self.about, self.medium = tuple(conditions), dict(about), medium or Pictures()
        self.labels, self.threshold, self.scale = labels, threshold, scale
        self.opinion, self.realism, self.best, self.rank = opinion, realism, best, rank
        self.parts: list[Part] = []  # shards in files, then what is held in memory as well

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def __repr__(self) -> str:
        p = _mean(self.parts, "prob")
        shape = "x".join(map(str, self.parts[0].read()[0].signals.shape[1:])) if self.parts else "none"
        means = "" if p is None else f", mean p {p:.2f}"
        said = f"{len(self)} samples of {self.about.get('target')}, {shape}{means}, {self.seconds:.1f} s"
        return f"{type(self).__name__}({said})"

    @property
    def samples(self) -> Samples:
        """All samples, as their medium stores them. Raises `InputError` where there are none yet."""
        if not self.parts:
            raise InputError("this run has no samples yet")
        return Samples.concatenate([part.read()[0] for part in self.parts])

    @property
    def signals(self) -> Tensor:
        """The samples as their medium stores them, (N, *signal_shape)."""
        return self.samples.signals

    @property
    def images(self) -> Tensor:
        """The samples as pictures, uint8 (N, 3, H, W)."""
        return self.medium.show(self.signals)

    @property
    def codes(self) -> Tensor:
        """The samples' codes, (N, *code_shape)."""
        return self.samples.codes

    @property
    def log_prob(self) -> Tensor:
        """log p(y | x) in the chains' last step, (N,)."""
        return self.samples.log_prob

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every sample."""
        return self.samples.seeds

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What the report says of every sample."""
        return list(self._rows())

    @property
    def walked(self) -> tuple[int, ...]:
        """The seeds that are finished."""
        return tuple(seed for part in self.parts for seed in part.walked)

    @property
    def failed(self) -> tuple[int, ...]:
        """Those of them whose chain met a number that is not finite."""
        return tuple(seed for part in self.parts for seed in part.failed)

    @property
    def seconds(self) -> float:
        """Those of the sampling; of jobs at the same time the longest."""
        return seconds_of(self.parts)

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What the judge says, None where it says nothing: of how many samples ("judged"), the means and the words.

        "mean_prob" is its p of what was asked for; "top1" and "top5" are the shares of samples in which that is its
        first guess, or among its five best. "recognised" counts the latter, "sure" the samples of which the condition
        is, with p > 1/2. "words" tell where these two are not the same.
        """
        if self.opinion is None:
            return None
        name = self.opinion.name
        judged = sum(part.sums.get(f"{name} top5", (0, 0))[1] for part in self.parts)
        means = [_mean(self.parts, f"{name} {figure}") for figure in ("prob", "top1", "top5", "sure")]
        p, top1, top5, sure = (mean or 0.0 for mean in means)
        if not judged:
            return None
        seen, believed = round(top5 * judged), round(sure * judged)
        apart = f"the condition is sure of {believed}, the judge recognises {seen}"
        words = "they agree" if seen == believed else apart
        return {
            "network": name,
            **({"instead_of": self.opinion.replaced} if self.opinion.replaced else {}),
            "judged": judged,
            **{"mean_prob": p, "top1": top1, "top5": top5, "recognised": seen, "sure": believed, "words": words},
            "seconds": round(self.opinion.seconds, 3),
        }

    def order(self) -> list[int]:
        """The seeds from the best to the worst, by the mean of what the judge says, log p, or of how real they are.

        Those of which nothing is said, and those that failed, come last.
        """
        scores: dict[int, list[float]] = {}
        for part in self.parts:
            samples, rows = part.read()
            for row in self.judged(samples, rows):
                said = row.get("realism") if self.rank == "realism" else (row.get("judge") or {}).get("log_prob")
                scores.setdefault(row["seed"], []).append(-math.inf if said is None else said)
        scores |= {seed: [-math.inf] for seed in self.failed if seed in scores}
        return sorted(scores, key=lambda seed: -sum(scores[seed]) / len(scores[seed]))

    def grid(self) -> Image.Image:
        """The first 64 samples on one sheet, a row per seed where each has several, and all of them are here."""
        per_seed = len(self) // sum(len(part.walked) for part in self.parts)
        columns = per_seed if per_seed > 1 and self.threshold is None else None
        count = TILES if columns is None else max(TILES // columns, 1) * columns
        samples, said = self._first(count) if self.best is None else self._of(self.order()[: self.best])
        captions = None
        if self.labels:
            asked = zip(samples.targets[:count], said, strict=False)
            captions = [caption(self.conditions[index], row) for index, row in asked]
        return images.grid(self.medium.show(samples.signals[:count]), columns, captions=captions, scale=self.scale)

    def _first(self, count: int) -> tuple[Samples, list[dict[str, Any]]]:
        """As many samples, or some more, and their rows; fewer where there are no more."""
        read, parts = iter(self.parts), [next(iter(self.parts)).read()]
        next(read)
        while sum(len(samples) for samples, _ in parts) < min(count, len(self)):
            parts.append(next(read).read())
        return Samples.concatenate([samples for samples, _ in parts]), [row for _, rows in parts for row in rows]

    def _of(self, seeds: Sequence[int]) -> tuple[Samples, list[dict[str, Any]]]:
        """The samples of some seeds, in their order, and their rows."""
        found = []
        for part in self.parts:
            if chosen := set(seeds).intersection(part.walked):
                rows = [row for row, seed in enumerate(part.read()[0].seeds) if seed in chosen]
                found.append(shards.select(part, rows, tuple(chosen)))
        joined = shards.join(found)
        own = joined.read()[0].seeds
        order = sorted(range(len(own)), key=lambda row: seeds.index(own[row]))
        return shards.select(joined, order, seeds).read()

    def report(self) -> dict[str, Any]:
        """What report.json says: the run, its means, and every sample where they are no more than 4,096."""
        seconds, steps = self.seconds, sum(part.chain_steps for part in self.parts)
        small = len(self) <= shards.MOST
        walked, failed = self.walked, self.failed
        return {
            **self.about,
            **({"seeds": list(walked)} if small else {"seed_count": len(walked), "sample_count": len(self)}),
            "failed": list(failed),
            "seconds": round(seconds, 3),
            "chain_steps_per_second": round(steps / seconds, 2) if seconds else None,
            "mean_log_prob": _mean(self.parts, "log_prob"),
            "mean_prob": _mean(self.parts, "prob"),
            "judge": self.verdict,
            **({} if self.best is None else {"best": self._chosen()}),
            "versions": files.versions(),
            "samples": self.rows if small else None,
        }

    def summary(self) -> str:
        """One line for the person who waits."""
        mean, asked = _mean(self.parts, "prob"), self.about["target"]
        target = asked if isinstance(asked, str | int) else "target"
        means = "" if mean is None else f", mean p({target}) {mean:.2f}"
        failed = f", {len(self.failed)} failed: seeds {list(self.failed[:20])}" if self.failed else ""
        passed = "" if self.threshold is None else f" with p > {self.threshold:g}"
        said = f"{means}{failed}{self._opinion()}{self._best()}"
        return f"{len(self)} samples{passed} in {self.seconds:.1f} s{said}"

    def _best(self) -> str:
        """What the grid shows of how much, in words."""
        if self.best is None:
            return ""
        chosen, how = self._chosen(), {"judge": "by the judge", "realism": "by realism"}[self.rank]
        return f"; the grid shows the best {len(chosen['seeds'])} of {chosen['drawn']} drawn, ranked {how}"

    def _chosen(self) -> dict[str, Any]:
        """Which seeds the grid shows as the best, of how many that were drawn."""
        return {"seeds": self.order()[: self.best], "drawn": len(self.walked), "rank": self.rank}

    def _opinion(self) -> str:
        """The verdict in words."""
        said = self.verdict
        if said is None:
            return ""
        name = f"{said['network']} ({said['instead_of']} draws)" if "instead_of" in said else said["network"]
        found = f"{said['recognised']} of {said['judged']} recognised by the judge {name}"
        found += f", mean p {said['mean_prob']:.2f}"
        return f"; {found}" if said["words"] == "they agree" else f"; {found}: {said['words']}"

    def _rows(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(part.read()[1] for part in self.parts)

    def judged(self, samples: Samples, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the judge's verdict, and how real they are, in those that have none, or none of this judge."""
        rows = [dict(row) for row in rows]
        if self.opinion is not None:
            new = [n for n, row in enumerate(rows) if (row.get("judge") or {}).get("network") != self.opinion.name]
            verdicts = self.opinion(self.medium.show(samples.signals[new]), [samples.targets[n] for n in new])
            for n, said in zip(new, verdicts, strict=True):
                rows[n] |= {} if said is None else {"judge": said}
        new = [n for n, row in enumerate(rows) if "realism" not in row]
        if self.realism is not None and new:
            values = self.realism(self.medium.restore(samples.signals[new])).tolist()
            for n, value in zip(new, values, strict=True):
                rows[n]["realism"] = finite(value)
        return rows


def describe(
    condition: Condition, stored: Tensor, medium: Medium | None = None, batch_size: int = 16
) -> list[dict[str, Any]]:
    """What a condition says of stored signals (N, ...), by default uint8 images: a dict each, {} where it is silent."""
    if not hasattr(condition, "describe"):
        return [{} for _ in stored]
    restore = (medium or Pictures()).restore
    weight = next(iter(condition.parameters()), None) if isinstance(condition, nn.Module) else None
    said: list[dict[str, Any]] = []
    with torch.no_grad():
        for batch in stored.split(batch_size):
            x = restore(batch)
            said += condition.describe(x if weight is None else x.to(weight.device, weight.dtype))
    return said


def caption(condition: Condition, row: Mapping[str, Any]) -> str:
    """What a picture is, by the report of it: probability and name of each class asked for, a line each."""
    if "terms" in row:
        terms = zip(cast("Any", condition).terms, row["terms"], strict=True)
        return "\n".join(caption(term, said) for term, said in terms)
    name = str(getattr(condition, "name", row.get("target", ""))).split(",")[0]
    log_prob = row["log_prob"]
    p = row.get("prob") if "prob" in row or log_prob is None else math.exp(min(log_prob, 0))
    return name if p is None else f"{p:.2f} {name}"


def seconds_of(parts: Sequence[Part]) -> float:
    """Those of all parts; of jobs at the same time the longest."""
    jobs = {"": 0.0}
    for part in parts:
        jobs[part.job] = jobs.get(part.job, 0.0) + part.seconds
    return jobs.pop("") + max(jobs.values(), default=0.0)


def finite(value: float) -> float | None:
    """The same number, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None


def _mean(parts: Sequence[Part], name: str) -> float | None:
    total, known = (sum(part.sums.get(name, (0, 0))[place] for part in parts) for place in (0, 1))
    return total / known if known else None
