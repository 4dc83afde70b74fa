"""Whether a captioner that took no part finds the sentence that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ppgn.metrics.look import look
from ppgn.networks.captioner import SentenceNetwork


def log_probs(captioner: SentenceNetwork, pictures: Tensor, sentences: Sequence[str], batch_size: int = 50) -> Tensor:
    """log p(sentence | x) of every picture and sentence, (B, S), on the CPU.

    Pictures (B, 3, H, W), uint8 or float in [0, 1], which are rounded first. Raises `InputError` for a sentence that
    the captioner cannot read.
    """
    like = torch.zeros((), device=next(captioner.parameters(), pictures).device)
    tokens = [captioner.encode(sentence).to(like.device) for sentence in sentences]
    return look(lambda x: captioner.compare(x, tokens), pictures, like, batch_size)


def marginal(log_p: Tensor) -> Tensor:
    """log p(sentence), (S,), averaged over the pictures of log p(sentence | x), (N, S).

    What is left of log p(sentence | x) without it does not favour short and common sentences: Mao et al. 2015
    (arXiv 1412.6632, section 5).
    """
    return log_p.logsumexp(0) - math.log(len(log_p))


def true_caption_ranks(scores: Tensor, asked: Sequence[int]) -> Tensor:
    """The rank of each picture's own sentence, 1 the best: scores (B, S), indices of sentences (B,) -> (B,) int64.

    A tie counts against it.
    """
    own = scores.gather(1, torch.as_tensor(asked)[:, None])
    return (scores >= own).sum(1)
