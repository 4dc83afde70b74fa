"""Be what a sentence says: log p(sentence | x) by any captioner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppgn.conditions.base import Condition
from ppgn.networks.captioner import SentenceNetwork


class Caption(Condition):
    """Images (B, 3, H, W) in [0, 1] -> log p(target | x) = Σ_t log p(w_t | w_<t, x), the end included, (B,).

    `target` is a sentence in words that `captioner` knows (it raises `InputError` for others). `gradient`: "full" is
    that of the value; "truncated" flows at each word through the image's features at that word alone, as in the sampler
    released with the paper. The value is the same.
    """

    tokens: Tensor

    def __init__(self, captioner: SentenceNetwork, target: str | int, gradient: str = "full") -> None:
        super().__init__(gradient)
        self.captioner = captioner
        self.name = str(target)
        self.register_buffer("tokens", captioner.encode(self.name), persistent=False)

    @property
    def rare(self) -> bool:
        """Yes: a sentence says more at once than a bank has photographs of."""
        return True

    def with_target(self, target: str | int) -> Caption:
        """The same question about another sentence, to the same captioner."""
        return Caption(self.captioner, target, self.gradient)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> log p(target | x), (B,)."""
        return self.captioner.log_probs(x, self.tokens, self.gradient == "truncated").sum(1)

    @torch.no_grad()
    def describe(self, images: Tensor) -> list[dict[str, Any]]:
        """Of each image: "log_prob" of the sentence, and where the network writes sentences of its own two things more.

        "word_prob" is the mean probability of the sentence's words, "caption" what the network would say.
        """
        log_p = self.captioner.log_probs(images, self.tokens)
        said = self.captioner.captions(images)
        rows: list[dict[str, Any]] = [{"log_prob": row.sum().item()} for row in log_p]
        for row, words, text in zip(rows, log_p, said or [], strict=False):
            row |= {"word_prob": words.exp().mean().item(), "caption": text}
        return rows
