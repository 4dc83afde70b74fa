"""What is said of samples by networks that took no part in drawing them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ppgn.cli.evaluation.request import Request
from ppgn.cli.results import describe
from ppgn.contracts import Condition
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics.bootstrap import Estimate

Pictures = Sequence[Tensor]  # of every class, uint8 (each, 3, H, W)


class Judges:
    """A classifier, features, and the `real` pictures, uint8 (N, 3, H, W), that samples are compared with."""

    def __init__(self, request: Request, conditions: Sequence[Condition], real: Tensor) -> None:
        self.conditions = list(conditions)
        self.classify = accuracy.Judge(request.batch_size).to(request.device)
        self.features = fidelity.Features(request.batch_size).to(request.device)
        self.real = self.features(real)

    @property
    def classes(self) -> list[int] | None:
        """The classifier's index of every condition's class, None where its classes are not the condition's."""
        network = getattr(self.conditions[0], "network", None)
        if network is None or network.labels != self.classify.labels:
            return None
        return [cast(Any, condition).index for condition in self.conditions]

    def __call__(self, drawn: Pictures, of: Sequence[int] | None = None) -> Judged:
        """Pictures of every condition, or of those numbered `of` -> what can be said of them."""
        return Judged(self, drawn, range(len(self.conditions)) if of is None else of)


class Judged:
    """Figures of pictures of each class. Intervals are over classes: a resample draws whole ones with all they have."""

    def __init__(self, judges: Judges, drawn: Pictures, of: Sequence[int]) -> None:
        self.judges, self.drawn, self.of = judges, drawn, of
        self.every, self.each = torch.cat(list(drawn)), len(drawn[0])
        self.features = judges.features(self.every)
        self.weights = bootstrap.draws(len(drawn))
        self.row_weights = self.weights.repeat_interleave(self.each, dim=1)
        self.classes = [number for number in range(len(drawn)) for _ in range(self.each)]

    def p(self) -> Estimate:
        """The condition's own p of the class."""
        conditions = [self.judges.conditions[number] for number in self.of]
        said = [describe(condition, pictures) for condition, pictures in zip(conditions, self.drawn, strict=True)]
        p = [[row.get("prob", math.exp(row["log_prob"])) for row in rows] for rows in said]
        return self._mean(torch.tensor(p).mean(1))

    def recognised(self) -> dict[str, Estimate | None]:
        """Top-1 and top-5 of the classifier, None where it does not know the classes."""
        if self.judges.classes is None:
            return {"top1": None, "top5": None}
        logits = self.judges.classify(self.every)
        index = torch.tensor([self.judges.classes[number] for number in self.of]).repeat_interleave(self.each)
        hits = {k: accuracy.top_k(logits, index, k).double().view(-1, self.each).mean(1) for k in (1, 5)}
        return {f"top{k}": self._mean(hit) for k, hit in hits.items()}

    def kid(self) -> Estimate:
        """KID to the real pictures."""
        return fidelity.kid(self.features, self.judges.real, self.row_weights)

    def likeness(self) -> dict[str, Estimate]:
        """KID and Fréchet distance to the real pictures, density and coverage around them."""
        near = fidelity.DensityCoverage(self.judges.real, self.features)
        return {
            "kid": self.kid(),
            "frechet": fidelity.frechet(self.features, self.judges.real, self.row_weights),
            "density": bootstrap.estimate(near.density, self.row_weights),
            "coverage": bootstrap.estimate(near.coverage, self.row_weights, centred=True),
        }

    def within(self) -> Estimate | None:
        """Mean cosine distance of features within a class."""
        return self._mean(diversity.within_class(self.features, self.classes)) if self.each > 1 else None

    def between(self) -> Estimate | None:
        """Mean cosine distance of features to those of other classes."""
        return self._mean(diversity.between_classes(self.features, self.classes)) if len(self.drawn) > 1 else None

    def mixing(self, later: Pictures) -> Estimate:
        """Mean cosine distance of features to those of the pictures that the same chains drew `later`."""
        distance = diversity.paired(self.features, self.judges.features(torch.cat(list(later))))
        return self._mean(distance.view(-1, self.each).mean(1))

    def _mean(self, of_classes: Tensor) -> Estimate:
        return bootstrap.mean(of_classes, self.weights)
