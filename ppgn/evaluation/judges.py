"""What networks that took no part in drawing say of pictures: figures with intervals over what was asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgn.contracts import Condition
from ppgn.drawn import describe
from ppgn.evaluation.sources import SHOWN, Drawn, Source, grid
from ppgn.evaluation.table import Table, plain
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics.bootstrap import Estimate

TIMES = ("seconds", "mixing", "distance")  # values that are no judge's

# Pictures uint8 (N, 3, H, W) and the number of what each asks for (N,) -> values (N,) by name.
Judge = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


def classes_of(classifier: accuracy.Judge, conditions: Sequence[Any]) -> list[int] | None:
    """The classes of conditions in a classifier's labels, None where these are not those of their networks."""
    theirs = {tuple(getattr(getattr(one, "network", None), "labels", None) or ()) for one in conditions}
    return [one.index for one in conditions] if classifier.labels and theirs == {classifier.labels} else None


def recognition(classifier: accuracy.Judge, classes: Sequence[int] | None) -> Judge:
    """Whether a classifier finds the class asked for among its 1 and 5 best, "top1" and "top5"; None: nothing."""

    def judge(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if classes is None:
            return {}
        logits, index = classifier(pictures), torch.tensor(classes)[targets]
        return {f"top{k}": accuracy.top_k(logits, index, k).double() for k in (1, 5)}

    return judge


@dataclass(frozen=True)
class Seen:
    """What is kept of pictures that were looked at batch by batch, N in all."""

    targets: Tensor  # (N,)
    seeds: tuple[int, ...]
    failed: int
    values: Mapping[str, Tensor]  # (N,) by name
    features: Tensor | None
    shown: Drawn  # the first few pictures of every condition, or all


class Panel:
    """Measures pictures of conditions by a judge, and by features beside those of `real` pictures, if there are some.

    `real` are pictures or batches of such. Intervals are over conditions: a resample draws whole ones with all they
    have. Of pictures that come in batches no more than one, and a few of every condition to be shown, are kept.
    """

    def __init__(
        self, conditions: Sequence[Condition], judge: Judge, features: fidelity.Features | None = None, real: Any = None
    ) -> None:
        self.conditions, self.judge, self.features = conditions, judge, features
        self.real: Any = None
        if features is not None:
            self.real = torch.cat([features(batch) for batch in ([real] if isinstance(real, Tensor) else real)])

    def add(
        self,
        table: Table,
        name: str,
        drawn: Drawn | Iterable[Drawn],
        figures: Sequence[str] = (),
        asked: Sequence[str] | None = None,
        values: Mapping[str, Tensor] | None = None,
        **facts: Any,
    ) -> None:
        """Give a table the row of what was drawn, at once or batch by batch, with a grid of it.

        figures: the names of those wanted, None for one that cannot be measured. asked: what the conditions ask for;
        then figures are "log_prob", the conditions' own log p, and all that the judge says, and every picture's values
        are told too. values: further ones, (N,) each. facts: what else is to be told.
        """
        seen = self.look(drawn, figures if asked is None else ("log_prob",), self.judge, every=asked is not None)
        said = {**seen.values, **(values or {})}
        told = {key: value for key, value in said.items() if key not in TIMES}
        if asked is not None:
            figures = (*told, "seconds")
        if seen.seeds:
            facts["failed"] = seen.failed
        if seen.seeds and asked is not None:
            rows = zip(seen.targets.tolist(), seen.seeds, *(value.tolist() for value in told.values()), strict=True)
            facts["pictures"] = [
                {"target": asked[number], "seed": seed, **dict(zip(told, row, strict=True))}
                for number, seed, *row in rows
            ]
        grids = {f"grid_{name}": grid(seen.shown, asked)} if seen.seeds else {}
        table.add(name, self._figures(seen, figures, said), grids, **facts)

    def look(
        self, drawn: Drawn | Iterable[Drawn], names: Sequence[str], judge: Judge | None = None, every: bool = False
    ) -> Seen:
        """What figures `names` need of pictures, and what a judge says of them; `every` one is shown, or a few."""
        values: dict[str, list[Tensor]] = {}
        columns: dict[str, list[Any]] = {"targets": [], "seeds": [], "features": []}
        shown: list[Drawn] = []
        counts: Counter[int] = Counter()
        failed = 0
        for batch in [drawn] if isinstance(drawn, Drawn) else drawn:
            said: dict[str, Tensor] = {} if judge is None else dict(judge(batch.pictures, batch.targets))
            if {"p", "log_prob"} & {*names}:
                said = {key: value for key, value in own(self.conditions, batch).items() if key in names} | said
            if batch.seconds is not None:
                said["seconds"] = batch.seconds
            if self.features is not None:
                columns["features"].append(self.features(batch.pictures))
                if batch.beside is not None:
                    said["mixing"] = diversity.paired(columns["features"][-1], self.features(batch.beside))
                    said["distance"] = said["mixing"]
            for key, value in said.items():
                values.setdefault(key, []).append(value)
            columns["targets"].append(batch.targets)
            columns["seeds"] += batch.seeds
            failed += batch.failed
            kept: list[int] = []
            for row, number in enumerate(batch.targets.tolist()):
                counts[number] += 1
                kept += [row] if every or counts[number] <= SHOWN else []
            shown.append(Drawn(batch.pictures[kept], batch.targets[kept]))
        return Seen(
            torch.cat(columns["targets"]),
            tuple(columns["seeds"]),
            failed,
            {name: torch.cat(parts) for name, parts in values.items()},
            torch.cat(columns["features"]) if columns["features"] else None,
            Drawn.joined(shown),
        )

    def compare(
        self, table: Table, chains: Mapping[str, Source], asked: Sequence[str], real: Drawn, progress: bool, **more: Any
    ) -> Table:
        """Fill a table with rows of chains by name, of the start codes of "samples", "white_noise", and photographs."""
        for name, source in chains.items():
            drawn, kernel = source.stream(self.conditions, name, progress), plain(source.sampler)
            self.add(table, name, drawn, asked=asked, sampler=kernel, **more)
        self.add(table, "white_noise", chains["samples"].start_codes().stream(self.conditions), asked=asked, **more)
        self.add(table, "photographs", real, asked=asked, **more)
        return table

    def figures(self, drawn: Drawn, names: Sequence[str], values: Mapping[str, Tensor]) -> dict[str, Estimate | None]:
        """Figures by name: means of `values` (N,), of ranks the median, and those of the pictures' features."""
        seen = self.look(drawn, names)
        return self._figures(seen, names, {**seen.values, **values})

    def _figures(self, seen: Seen, names: Sequence[str], values: Mapping[str, Tensor]) -> dict[str, Estimate | None]:
        present, place = seen.targets.unique(return_inverse=True)
        weights = bootstrap.draws(len(present))
        found: dict[str, Estimate | None] = {}
        if seen.features is not None:
            features, each = seen.features, place.tolist()
            if "kid" in names:
                found["kid"] = fidelity.kid(features, self.real, weights, place)
            if "within" in names and len(each) > len(present):
                found["within"] = bootstrap.mean(diversity.within_class(features, each), weights)
            if "between" in names and len(present) > 1:
                found["between"] = bootstrap.mean(diversity.between_classes(features, each), weights)
            if "frechet" in names:
                found["frechet"] = fidelity.frechet(features, self.real, weights, place)
            if {"density", "coverage"} & {*names}:
                both = fidelity.density_coverage(self.real, features, weights, groups=place)
                found["density"], found["coverage"] = both
        for name, value in values.items():
            if name.endswith("rank"):
                found[name] = bootstrap.median(value, weights[:, place])
            else:
                found[name] = bootstrap.mean(value, weights, place)
        return {name: found.get(name) for name in names}


def own(conditions: Sequence[Condition], drawn: Drawn) -> dict[str, Tensor]:
    """The "log_prob" and "p" of every picture by its own condition, without a sampler's views, (N,) float64."""
    found = torch.empty(2, len(drawn.pictures), dtype=torch.float64)
    for number in drawn.targets.unique().tolist():
        rows = drawn.targets == number
        said = describe(conditions[number], drawn.pictures[rows])
        log_p = [row["log_prob"] for row in said]
        p = [row["prob"] if "prob" in row else math.exp(row["log_prob"]) for row in said]
        found[:, rows] = torch.tensor([log_p, p], dtype=torch.float64)
    return {"log_prob": found[0], "p": found[1]}
