"""Whether a judge, a classifier that took no part, recognises the class that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppgn.metrics.look import look
from ppgn.networks import imagenet

NETWORK, SIZE = "efficientnet_lite2", 160


class Judge(nn.Module):
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], -> logits (N, K) float32 on the CPU.

    `network` is the name of an ImageNet classifier, which then sees 160 px, or a module: images (B, 3, H, W) in [0, 1]
    -> logits (B, K). `labels` are its classes in order, None where it does not tell them. Float pictures are rounded
    first.
    """

    def __init__(self, network: str | nn.Module = NETWORK, batch_size: int = 50) -> None:
        super().__init__()
        self.network = imagenet.load(network, size=SIZE) if isinstance(network, str) else network
        labels = getattr(self.network, "labels", None)
        self.labels = None if labels is None else tuple(labels)
        self.batch_size = batch_size
        self.register_buffer("place", torch.zeros(()), persistent=False)
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, K)."""
        return look(self.network, pictures, self.get_buffer("place"), self.batch_size).float()


def top_k(logits: Tensor, classes: Sequence[int] | Tensor, k: int) -> Tensor:
    """Whether the class asked for is among the `k` highest of logits (N, K), per row, bool (N,).

    A tie with another class counts against it.
    """
    index = torch.as_tensor(classes).unsqueeze(1)
    higher = (logits >= logits.gather(1, index)).sum(dim=1) - 1
    return higher < k
