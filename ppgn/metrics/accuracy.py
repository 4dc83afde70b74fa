"""Whether a classifier that took no part recognises the class that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppgn.media.images import to_uint8
from ppgn.networks import imagenet

NETWORK, SIZE = "efficientnet_lite2", 160


class Judge(nn.Module):
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], -> logits (N, 1000) float32 on the CPU.

    EfficientNet-Lite2 at 160 px among all ImageNet classes, `labels` in order. Float pictures are rounded first.
    """

    def __init__(self, batch_size: int = 50) -> None:
        super().__init__()
        self.network = imagenet.load(NETWORK, size=SIZE)
        self.labels = self.network.labels
        self.batch_size = batch_size

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1000)."""
        gain = self.network.preprocessing.gain
        batches = pictures.split(self.batch_size)
        return torch.cat([self.network(to_uint8(batch).to(gain) / 255).float().cpu() for batch in batches])


def top_k(logits: Tensor, classes: Sequence[int] | Tensor, k: int) -> Tensor:
    """Whether the class asked for is among the `k` highest of logits (N, K), per row, bool (N,).

    A tie with another class counts against it.
    """
    index = torch.as_tensor(classes).unsqueeze(1)
    higher = (logits >= logits.gather(1, index)).sum(dim=1) - 1
    return higher < k
