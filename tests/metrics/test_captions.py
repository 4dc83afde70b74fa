"""Ranks of captions by hand and by a tiny captioner."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgn.metrics.captions import log_probs, marginal, true_caption_ranks
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
        ranks = true_caption_ranks(log_probs(Brightness(), shown, sentences, batch_size=2), [0, 2, 3])
        assert ranks.tolist() == [1, 2, 3]
    tied = log_probs(Brightness(), pictures[:1], ["a", "b", "abc"])
    assert true_caption_ranks(tied, [0]).item() == 3  # a tie counts against


def test_log_probs_of_a_captioner_in_any_batch() -> None:
    captioner = tiny(dtype=torch.float32)
    x = (images(3) * 255).round().to(torch.uint8)
    sentences = ["a dog", "dog runs", "runs a dog", "a"]
    expected = [
        [float(captioner.log_probs(row[None] / 255, captioner.encode(text)).sum()) for text in sentences]
        for row in x.float()
    ]
    torch.testing.assert_close(log_probs(captioner, x, sentences, batch_size=2), torch.tensor(expected))


def test_a_sentence_that_is_likely_of_everything_ranks_low_without_its_marginal() -> None:
    joint = torch.tensor([[0.4, 0.3, 0.3], [0.6, 0.1, 0.3]]).double()
    expected = (joint / torch.tensor([0.5, 0.2, 0.3])).log()
    log_p = joint.log()
    torch.testing.assert_close(log_p - marginal(log_p), expected)
    assert true_caption_ranks(log_p, [1, 1]).tolist() == [3, 3]  # tied with the third in the first row
    assert true_caption_ranks(expected, [1, 1]).tolist() == [1, 3]
