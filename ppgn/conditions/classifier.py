"""Be of a class: log p(y | x) by any classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.conditions.base import Condition
from ppgn.networks import labels, torchscript
from ppgn.networks.network import Network


class Classifier(Condition):
    """Images (B, 3, H, W) in [0, 1] -> log softmax of the class `target` of `network`, (B,).

    `target` is a name or an index (see `ppgn.networks.labels.find`, which raises `InputError` for unknown ones).
    `gradient`: "full" is that of the value; "truncated" flows through the target's logit alone, seeded with 1 − p, as
    in the sampler released with the paper. The value is the same.
    """

    def __init__(self, network: Network, target: str | int, gradient: str = "full") -> None:
        super().__init__(gradient)
        self.network = network
        self.index = self._find(target)
        self.names = labels.short(network.labels or [str(index) for index in range(network.classes)])

    def _find(self, target: str | int) -> int:
        return labels.find(self.network.labels, target, self.network.classes)

    @classmethod
    def from_torchscript(
        cls,
        path: str | Path,
        target: str | int,
        *,
        gradient: str = "full",
        labels: str | Path | Sequence[str] | None = None,
        size: int = 224,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> Classifier:
        """A condition on a TorchScript file; see `ppgn.networks.torchscript.load` for the last four."""
        return cls(torchscript.load(path, labels, size, mean, std), target, gradient)

    @property
    def name(self) -> str:
        """The name of the class asked for."""
        return self.names[self.index]

    def with_target(self, target: str | int) -> Self:
        """The same question about another class or unit, to the same network."""
        other = copy.copy(self)
        other.index = self._find(target)
        return other

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log p(target | x), (B,)."""
        return self.read(self._logits(x))

    def read(self, logits: Tensor) -> Tensor:
        """What its network says of images, (B, K) -> log p(target | x), (B,)."""
        log_p = F.log_softmax(logits, dim=1)[:, self.index]
        return log_p if self.gradient == "full" else self._truncate(log_p, logits, -torch.expm1(log_p))

    def complement(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log(1 − p(target | x)), (B,), over the other classes' logits: exact near p = 1."""
        logits = self._logits(x)
        others = torch.cat([logits[:, : self.index], logits[:, self.index + 1 :]], dim=1)
        log_q = others.logsumexp(1) - logits.logsumexp(1)
        return log_q if self.gradient == "full" else self._truncate(log_q, logits, torch.expm1(log_q))

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """Of each image: "prob" and "log_prob" of the target, "top5" as (class name, probability), best first."""
        log_p = F.log_softmax(self._logits(images), dim=1)
        best = log_p.topk(min(5, log_p.shape[1]), dim=1)
        return [
            {
                "prob": row[self.index].exp().item(),
                "log_prob": row[self.index].item(),
                "top5": [(self.names[k], p) for k, p in zip(indices.tolist(), values.exp().tolist(), strict=True)],
            }
            for row, values, indices in zip(log_p, best.values, best.indices, strict=True)
        ]

    def _logits(self, x: Tensor) -> Tensor:
        """(B, K), in single precision at least: probabilities near 1 need it."""
        logits: Tensor = self.network(x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _truncate(self, value: Tensor, logits: Tensor, seed: Tensor) -> Tensor:
        """`value` with the gradient `seed` at the target's logit and none elsewhere."""
        slope = seed.detach() * logits[:, self.index]
        return value.detach() + (slope - slope.detach())
