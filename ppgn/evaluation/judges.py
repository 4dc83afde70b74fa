"""What networks that took no part in drawing say of pictures: figures with intervals over what was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppgn.contracts import Condition
from ppgn.drawn import describe
from ppgn.evaluation.sources import Drawn, Source, grid
from ppgn.evaluation.table import Table, plain
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics.bootstrap import Estimate

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


class Panel:
    """Measures pictures of conditions by a judge, and by features beside those of `real` pictures, if there are some.

    Intervals are over conditions: a resample draws whole ones with all they have.
    """

    def __init__(
        self, conditions: Sequence[Condition], judge: Judge, features: fidelity.Features | None = None, real: Any = None
    ) -> None:
        self.conditions, self.judge, self.features = conditions, judge, features
        self.real: Any = None if features is None else features(real)

    def add(
        self,
        table: Table,
        name: str,
        drawn: Drawn,
        figures: Sequence[str] = (),
        asked: Sequence[str] | None = None,
        values: Mapping[str, Tensor] | None = None,
        **facts: Any,
    ) -> None:
        """Give a table the row of what was drawn, with a grid of it.

        figures: the names of those wanted, None for one that cannot be measured. asked: what the conditions ask for;
        then figures are "log_prob", the conditions' own log p, and all that the judge says, and every picture's values
        are told too. values: further ones, (N,) each. facts: what else is to be told.
        """
        said = {**self.judge(drawn.pictures, drawn.targets), **(values or {})}
        if asked is not None:
            said = {"log_prob": own(self.conditions, drawn)["log_prob"], **said}
            figures = (*said, "seconds")
        if drawn.seeds:
            facts["failed"] = drawn.failed
        if drawn.seeds and asked is not None:
            rows = zip(drawn.targets.tolist(), drawn.seeds, *(value.tolist() for value in said.values()), strict=True)
            facts["pictures"] = [
                {"target": asked[number], "seed": seed, **dict(zip(said, row, strict=True))}
                for number, seed, *row in rows
            ]
        grids = {f"grid_{name}": grid(drawn, asked)} if drawn.seeds else {}
        table.add(name, self.figures(drawn, figures, said), grids, **facts)

    def compare(
        self, table: Table, chains: Mapping[str, Source], asked: Sequence[str], real: Drawn, progress: bool, **more: Any
    ) -> Table:
        """Fill a table with rows of chains by name, of the start codes of "samples", "white_noise", and photographs."""
        for name, source in chains.items():
            drawn, kernel = source.draw(self.conditions, name, progress), plain(source.sampler)
            self.add(table, name, drawn, asked=asked, sampler=kernel, **more)
        noise = chains["samples"].start_codes().draw(self.conditions)
        for name, drawn in (("white_noise", noise), ("photographs", real)):
            self.add(table, name, drawn, asked=asked, **more)
        return table

    def figures(self, drawn: Drawn, names: Sequence[str], values: Mapping[str, Tensor]) -> dict[str, Estimate | None]:
        """Figures by name: means of `values` (N,), of ranks the median, and those of the pictures' features."""
        present, place = drawn.targets.unique(return_inverse=True)
        weights = bootstrap.draws(len(present))
        rows, every = weights[:, place], dict(values)
        if "p" in names:
            every["p"] = own(self.conditions, drawn)["p"]
        if drawn.seconds is not None:
            every["seconds"] = drawn.seconds
        found: dict[str, Estimate | None] = {}
        if self.features is not None:
            features, each = self.features(drawn.pictures), place.tolist()
            found["kid"] = fidelity.kid(features, self.real, rows)
            if len(each) > len(present):
                found["within"] = bootstrap.mean(diversity.within_class(features, each), weights)
            if "between" in names and len(present) > 1:
                found["between"] = bootstrap.mean(diversity.between_classes(features, each), weights)
            if "frechet" in names:
                found["frechet"] = fidelity.frechet(features, self.real, rows)
                found["density"], found["coverage"] = fidelity.density_coverage(self.real, features, rows)
            if drawn.beside is not None:
                every["mixing"] = every["distance"] = diversity.paired(features, self.features(drawn.beside))
        for name, value in every.items():
            found[name] = bootstrap.median(value, rows) if name.endswith("rank") else bootstrap.mean(value, rows)
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
