"""Be of a class, or of any of several: log p(y | x) by any classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.conditions.base import Condition
from ppgn.networks import labels, own


class Classifier(Condition):
    """Images (B, 3, H, W) in [0, 1] -> log softmax of the class `target` of `network`, (B,).

    `network`: a `Network`; any other nn.Module, images to logits (B, K); or the name or file of one. `settings` are
    those of `ppgn.networks.own.load`: labels, size, mean, std, weights. `target` is a name or an index, or "any:" and
    several, whose p are summed (`ppgn.networks.labels.find_any`). `gradient`: "full" is that of the value; "truncated"
    flows through the target's logit alone, seeded with 1 − p, as in the sampler released with the paper.

    Raises `InputError` for an unknown class, and for a network that is none of these (`ppgn.networks.own.load`).
    """

    def __init__(
        self, network: nn.Module | str | Path, target: str | int, gradient: str = "full", **settings: Any
    ) -> None:
        super().__init__(gradient)
        self.network = own.load(network, **settings)
        self.indices = self._find(target)
        self.names = labels.short(self.network.labels or [str(index) for index in range(self.network.classes)])
        self.name = self._named(target)

    def _find(self, target: str | int) -> tuple[int, ...]:
        return labels.find_any(self.network.labels, target, self.network.classes)

    def _named(self, target: str | int) -> str:
        several = str(target).strip().startswith(labels.ANY)
        return str(target).strip().removeprefix(labels.ANY) if several else self.names[self.index]

    @classmethod
    def from_torchscript(
        cls,
        path: str | Path,
        target: str | int,
        *,
        gradient: str = "full",
        labels: str | Path | Sequence[str] | None = None,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Classifier:
        """A condition on a file of `torch.jit` or `torch.export`; see `ppgn.networks.own.load` for the last four."""
        return cls(Path(path), target, gradient, labels=labels, size=size, mean=mean, std=std)

    @property
    def index(self) -> int:
        """The class asked for, the first one of several."""
        return self.indices[0]

    def with_target(self, target: str | int) -> Self:
        """The same question about another class or unit, to the same network."""
        other = copy.copy(self)
        other.indices = self._find(target)
        other.name = other._named(target)
        return other

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log p(target | x), (B,)."""
        return self.read(self._logits(x))

    def read(self, logits: Tensor) -> Tensor:
        """What its network says of images, (B, K) -> log p(target | x), (B,)."""
        columns = list(self.indices) if len(self.indices) > 1 else slice(self.index, self.index + 1)  # which is quicker
        log_p = F.log_softmax(logits, dim=1)[:, columns].logsumexp(1)
        return log_p if self.gradient == "full" else self._truncate(log_p, logits, -torch.expm1(log_p))

    def complement(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log(1 − p(target | x)), (B,), over the other classes' logits: exact near p = 1."""
        logits = self._logits(x)
        others = torch.ones(logits.shape[1], dtype=torch.bool)
        others[list(self.indices)] = False
        log_q = logits[:, others].logsumexp(1) - logits.logsumexp(1)
        return log_q if self.gradient == "full" else self._truncate(log_q, logits, torch.expm1(log_q))

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """Of each image: "prob" and "log_prob" of the target, "top5" as (class name, probability), best first."""
        log_p = F.log_softmax(self._logits(images), dim=1)
        asked = log_p[:, list(self.indices)].logsumexp(1)
        best = log_p.topk(min(5, log_p.shape[1]), dim=1)
        return [
            {
                "prob": value.exp().item(),
                "log_prob": value.item(),
                "top5": [(self.names[k], p) for k, p in zip(indices, values, strict=True)],
            }
            for value, values, indices in zip(asked, best.values.exp().tolist(), best.indices.tolist(), strict=True)
        ]

    def _logits(self, x: Tensor) -> Tensor:
        """(B, K), in single precision at least: probabilities near 1 need it."""
        logits: Tensor = self.network(x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _truncate(self, value: Tensor, logits: Tensor, seed: Tensor) -> Tensor:
        """`value` with the gradient `seed` at the target's logit and none elsewhere."""
        slope = seed.detach() * logits[:, list(self.indices)].logsumexp(1)
        return value.detach() + (slope - slope.detach())
