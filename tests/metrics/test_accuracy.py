"""Top-k by hand, and what the judge is."""

from __future__ import annotations

import torch

from ppgn.metrics.accuracy import Judge, top_k
from ppgn.networks import imagenet


def test_top_k_of_given_logits() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [5.0, 9.0, 7.0, 8.0]])
    classes = [0, 1, 2]
    assert top_k(logits, classes, 1).tolist() == [True, False, False]
    assert top_k(logits, classes, 2).tolist() == [True, False, False]
    assert top_k(logits, torch.tensor(classes), 3).tolist() == [True, True, True]


def test_a_tie_counts_against_the_class() -> None:
    logits = torch.zeros(1, 4)
    assert not top_k(logits, [2], 3).item()
    assert top_k(logits, [2], 4).item()


def test_the_judge_is_lite2_at_160_pixels_in_any_batch() -> None:
    pictures = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    judge = Judge(batch_size=2)
    expected = imagenet.load("efficientnet_lite2", size=160)(pictures.float() / 255)
    assert torch.allclose(judge(pictures), expected, atol=1e-4)
    assert judge.labels is not None
    assert len(judge.labels) == 1000
