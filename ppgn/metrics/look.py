"""Pictures as a network would see them in a file: rounded to 256 levels, in batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppgn.media.images import to_uint8


@torch.no_grad()
def look(network: Callable[[Tensor], Tensor], pictures: Tensor, like: Tensor, batch_size: int = 50) -> Tensor:
    """What `network` makes of pictures (N, 3, H, W), uint8 or float in [0, 1] -> (N, ...) on the CPU.

    It is given batches (B, 3, H, W) in [0, 1] of the type of `like`, where that is.
    """
    return torch.cat([network(to_uint8(batch).to(like) / 255).cpu() for batch in pictures.split(batch_size)])
