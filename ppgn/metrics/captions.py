"""Whether a captioner that took no part finds the sentence that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppgn.images import to_uint8
from ppgn.networks.captioner import SentenceNetwork


@torch.no_grad()
def true_caption_ranks(
    captioner: SentenceNetwork, pictures: Tensor, sentences: Sequence[str], asked: Sequence[int], batch_size: int = 50
) -> Tensor:
    """The rank of each picture's own caption among all `sentences` under log p(sentence | x), (B,) int64, 1 the best.

    Pictures (B, 3, H, W), uint8 or float in [0, 1], which are rounded first; `asked` is the index of each one's own
    sentence. A tie counts against it. Raises `InputError` for a sentence that the captioner cannot read.
    """
    device = next(captioner.parameters(), pictures).device
    tokens = [captioner.encode(sentence).to(device) for sentence in sentences]
    batches = (to_uint8(batch).to(device).float() / 255 for batch in pictures.split(batch_size))
    log_p = torch.cat([captioner.compare(batch, tokens).cpu() for batch in batches])
    own = log_p.gather(1, torch.as_tensor(asked)[:, None])
    return (log_p >= own).sum(1)
