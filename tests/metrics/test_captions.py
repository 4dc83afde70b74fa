"""Ranks of captions by hand and by a tiny captioner."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgn.metrics.captions import true_caption_ranks
from ppgn.networks.captioner import SentenceNetwork
from tests.networks.test_captioner import images, tiny


class Brightness(SentenceNetwork):
    """A sentence of n letters is likely for a picture of brightness n / 10."""

    def encode(self, sentence: str) -> Tensor:
        return torch.tensor([len(sentence)])

    def log_probs(self, x: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        return -(10 * x.mean((1, 2, 3)) - tokens).abs()[:, None].expand(-1, len(tokens))


def test_ranks_count_the_sentences_that_are_at_least_as_likely() -> None:
    pictures = torch.tensor([1.0, 0.0, 0.2]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    sentences = ["a" * n for n in (10, 1, 3, 8)]
    for shown in (pictures, (pictures * 255).to(torch.uint8)):
        ranks = true_caption_ranks(Brightness(), shown, sentences, [0, 2, 3], batch_size=2)
        assert ranks.tolist() == [1, 2, 3]
    assert true_caption_ranks(Brightness(), pictures[:1], ["a", "b", "abc"], [0]).item() == 3  # a tie counts against


def test_ranks_of_a_captioner_in_any_batch() -> None:
    captioner = tiny(dtype=torch.float32)
    x = (images(3) * 255).round().to(torch.uint8)
    sentences = ["a dog", "dog runs", "runs a dog", "a"]
    table = torch.tensor([[float(captioner.log_probs(row[None] / 255, captioner.encode(s)).sum()) for s in sentences]
                          for row in x.float()])  # fmt: skip
    expected = [1 + int((row > row[2]).sum()) for row in table]
    assert true_caption_ranks(captioner, x, sentences, [2, 2, 2], batch_size=2).tolist() == expected
