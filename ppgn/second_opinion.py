"""What a network that took no part in drawing says of pictures of classes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppgn.conditions.algebra import And, Or, Weighted
from ppgn.conditions.classifier import Classifier
from ppgn.contracts import Condition
from ppgn.errors import InputError
from ppgn.metrics import accuracy, fidelity
from ppgn.model import PPGN
from ppgn.networks import imagenet, labels
from ppgn.networks.network import Network
from ppgn.priors.bank import Bank
from ppgn.settings import called

RANKS = ("judge", "realism")  # by which the best samples can be chosen
PHOTOGRAPHS = 4096  # beside whose codes those of pictures are real


def realism(model: PPGN) -> Callable[[Tensor], Tensor]:
    """How real pictures (N, *signal_shape) are, (N,): `fidelity.realism` of their codes beside those of photographs.

    The photographs are up to 4,096 of those whose codes a prior of the model holds. Raises `InputError` for a model
    without such a prior or without an encoder.
    """
    banks = [prior for prior in model.priors.values() if isinstance(prior, Bank)]
    if not banks or model.encoder is None:
        lack = "rank=realism needs a model with an encoder and the codes of photographs (a prior that is a bank)"
        raise InputError(f"{lack}; use rank=judge")
    told, count = banks[0].dims, len(banks[0])
    rows = torch.linspace(0, count - 1, min(count, PHOTOGRAPHS), device=model.device).long()
    measure = fidelity.realism(banks[0].codes(rows)[:, :told])

    def measured(pictures: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            batches = [model.encode(batch.to(model.device, model.dtype)) for batch in pictures.split(16)]
        return measure(torch.cat(batches)[:, :told])

    return measured


class SecondOpinion:
    """Pictures uint8 (N, 3, H, W) and the number of each one's condition -> what a judge says of each, or None.

    It says "prob" and "log_prob" of the classes asked for, their "rank" (1 is its first guess) and its five best as
    "top5". A judge knows the classes of its own labels, and those of others by the same name; of a & b it is to find
    both, of a | b either, whatever the weights; what is repelled is not looked for. `replaced` is who was to judge but
    draws itself; `seconds` are those that the judge took.
    """

    def __init__(self, judge: accuracy.Judge, name: str, conditions: Sequence[Condition], replaced: str = "") -> None:
        self.judge, self.name, self.conditions, self.replaced = judge, name, tuple(conditions), replaced
        self.names = labels.short(judge.labels or ())
        self.seconds = 0.0

    @staticmethod
    def of(judge: Any, conditions: Sequence[Condition], model: nn.Module, device: torch.device) -> SecondOpinion | None:
        """That of a judge by name, "module:Class", a mapping or a module; None where it knows no class asked for.

        A judge that draws gives way to another one that comes with pip. Raises `InputError` for an unknown judge.
        """
        if judge is None or judge == "none":
            return None
        asked = any(isinstance(part, Classifier) and part.network.labels for part in _parts(conditions))
        if not asked and judge == accuracy.NETWORK:
            return None
        name, replaced = called("judge", judge), ""
        drawing = {part.name for part in _parts([*conditions, model]) if isinstance(part, Network)}
        if name in drawing:
            replaced, free = name, [other for other in reversed(imagenet.EFFICIENTNET_LITE) if other not in drawing]
            if not free:
                return None
            judge = name = free[0]
        opinion = SecondOpinion(accuracy.Judge.of(judge).to(device), name, conditions, replaced)
        knows = any(opinion._classes(part) for part in _parts(conditions) if isinstance(part, Classifier))
        return opinion if knows else None

    def __call__(self, pictures: Tensor, targets: Sequence[int]) -> list[dict[str, Any] | None]:
        """Pictures of any number."""
        started, said = time.perf_counter(), cast("list[dict[str, Any] | None]", [None] * len(pictures))
        if len(pictures):
            with torch.autocast(self.judge.get_buffer("place").device.type, enabled=False):
                log_p = self.judge(pictures).log_softmax(dim=1)
            best = log_p.topk(min(5, log_p.shape[1]), dim=1)
            for number in sorted(set(targets)):
                rows = [row for row, target in enumerate(targets) if target == number]
                found = self._verdict(cast(nn.Module, self.conditions[number]), log_p[rows])
                if found is None:
                    continue
                for row, value, rank in zip(rows, *(part.tolist() for part in found), strict=True):
                    five = zip(best.indices[row].tolist(), best.values[row].exp().tolist(), strict=True)
                    named = [(self.names[k] if self.names else k, p) for k, p in five]
                    prob = math.exp(min(value, 0.0))
                    said[row] = {"network": self.name, "prob": prob, "log_prob": value, "rank": rank, "top5": named}
        self.seconds += time.perf_counter() - started
        return said

    def _verdict(self, condition: nn.Module, log_p: Tensor) -> tuple[Tensor, Tensor] | None:
        """log p of what a condition asks for and its rank, (N,) each; None where the judge knows no class of it."""
        if isinstance(condition, Weighted):
            return self._verdict(condition.terms[0], log_p) if condition.weight > 0 else None
        if isinstance(condition, And | Or):
            found = [self._verdict(term, log_p) for term in condition.terms]
            known = [one for one in found if one is not None]
            if not known or (isinstance(condition, Or) and len(known) < len(found)):
                return None
            values, ranks = (torch.stack(parts) for parts in zip(*known, strict=True))
            return condition.combine(values), ranks.amin(0) if isinstance(condition, Or) else ranks.amax(0)
        classes = self._classes(condition) if isinstance(condition, Classifier) else ()
        if not classes:
            return None
        ranks = torch.stack([accuracy.ranks(log_p, [index] * len(log_p)) for index in classes])
        return log_p[:, list(classes)].logsumexp(1), ranks.amin(0)

    def _classes(self, condition: Classifier) -> tuple[int, ...]:
        """The judge's numbers of the classes that a condition asks for, () where it does not know all of them."""
        theirs, own = condition.network.labels, self.judge.labels
        if not theirs or not own:
            return ()
        if tuple(theirs) == own:
            return condition.indices
        names = [condition.names[index] for index in condition.indices]
        with suppress(InputError):
            return () if any(name.strip().isdigit() for name in names) else tuple(labels.find(own, n) for n in names)
        return ()


def _parts(modules: Sequence[Any]) -> list[nn.Module]:
    """All modules inside of some."""
    return [part for one in modules if isinstance(one, nn.Module) for part in one.modules()]
