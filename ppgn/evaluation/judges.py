"""What networks that took no part in drawing say of pictures: figures with intervals over what was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppgn.contracts import Condition
from ppgn.evaluation.sources import Drawn, grid
from ppgn.evaluation.table import Figures, Table
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics.bootstrap import Estimate
from ppgn.networks import labels
from ppgn.runs import describe

Judge = Callable[
    [Tensor, Tensor], Mapping[str, Tensor]
]  # pictures (N, 3, H, W), what each asks for (N,) -> values (N,)


class Recognition:
    """Judges pictures by a classifier: whether their class is among its 1 and 5 best, "top1" and "top5".

    `index` is the class of everything that may be asked for in the classifier's labels, None where these are others.
    """

    def __init__(self, classifier: accuracy.Judge, index: Sequence[int] | None) -> None:
        self.classifier, self.index = classifier, None if index is None else torch.tensor(index)

    @staticmethod
    def of(classifier: accuracy.Judge, conditions: Sequence[Any]) -> Recognition:
        """Of the classes of conditions, where the classifier has the labels of their networks."""
        theirs = {tuple(getattr(getattr(one, "network", None), "labels", None) or ()) for one in conditions}
        known = classifier.labels and theirs == {classifier.labels}
        return Recognition(classifier, [condition.index for condition in conditions] if known else None)

    @property
    def imagenet(self) -> list[int]:
        """The classes in ImageNet, none where the judge's are others."""
        known = self.index is not None and self.classifier.labels == labels.imagenet()
        return self.index.tolist() if known and self.index is not None else []

    def __call__(self, pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Nothing where the classes are not the judge's."""
        if self.index is None:
            return {}
        logits = self.classifier(pictures)
        return {f"top{k}": accuracy.top_k(logits, self.index[targets], k).double() for k in (1, 5)}


class Panel:
    """Figures of pictures of conditions by a judge, by features, and by the `real` pictures that they are compared with.

    Intervals are over conditions: a resample draws whole ones with all they have.
    """

    def __init__(
        self, conditions: Sequence[Condition], judge: Judge, features: fidelity.Features | None = None, real: Any = None
    ) -> None:
        self.conditions, self.judge, self.features = conditions, judge, features
        self.real = None if features is None else features(real)

    def values(self, drawn: Drawn) -> dict[str, Tensor]:
        """Of each picture "log_prob", the condition's own log p, and what the judge says, (N,) each."""
        return {"log_prob": own(self.conditions, drawn)["log_prob"], **self.judge(drawn.pictures, drawn.targets)}

    def figures(self, drawn: Drawn, names: Sequence[str], values: Mapping[str, Tensor] | None = None) -> Figures:
        """Those of these names, None for one that cannot be measured; `values` (N,) are further ones to sum up."""
        present, place = drawn.targets.unique(return_inverse=True)
        weights = bootstrap.draws(len(present))
        rows = weights[:, place]
        every = dict(values or {})
        if not {*names} <= {*every, "seconds"}:
            every |= self.judge(drawn.pictures, drawn.targets)
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
            found[name] = median(value, rows) if name.endswith("rank") else bootstrap.mean(value, rows)
        return {name: found.get(name) for name in names}


def compare(
    table: Table, panel: Panel, sources: Mapping[str, Callable[[], Drawn]], names: Sequence[str], **facts: Any
) -> Table:
    """A row for every source: means over pictures, of ranks the median, and every drawn picture's own values.

    `names` are what the conditions ask for.
    """
    for name, source in sources.items():
        drawn = source()
        values = panel.values(drawn)
        figures = panel.figures(drawn, [*values, "seconds"], values)
        told = [
            {"target": names[number], "seed": seed, **dict(zip(values, row, strict=True))}
            for number, seed, *row in zip(
                drawn.targets.tolist(), drawn.seeds, *(v.tolist() for v in values.values()), strict=bool(drawn.seeds)
            )
        ]
        grids = {f"grid_{name}": grid(drawn, names)} if drawn.seeds else {}
        table.add(name, figures, grids, **facts, **({"pictures": told} if drawn.seeds else {}))
    return table


def own(conditions: Sequence[Condition], drawn: Drawn) -> dict[str, Tensor]:
    """ "log_prob" and "p" of every picture by its own condition, without a sampler's views, (N,) float64."""
    found = torch.empty(2, len(drawn.pictures), dtype=torch.float64)
    for number in drawn.targets.unique().tolist():
        rows = drawn.targets == number
        said = describe(conditions[number], drawn.pictures[rows])
        log_p = [row["log_prob"] for row in said]
        p = [row["prob"] if "prob" in row else math.exp(row["log_prob"]) for row in said]
        found[:, rows] = torch.tensor([log_p, p], dtype=torch.float64)
    return {"log_prob": found[0], "p": found[1]}


def median(values: Tensor, weights: Tensor) -> Estimate:
    """The median of values (N,), the lower of two in the middle, with its interval over row weights (R, N)."""
    ordered, order = values.double().sort()

    def weighted(rows: Tensor) -> Tensor:
        below = rows[:, order].cumsum(1)
        return ordered[(below >= below[:, -1:] / 2).double().argmax(1)]

    return bootstrap.estimate(weighted, weights)
