"""Top-k and ranks by hand and by a tiny captioner; a probe against its optimality condition; what the judge is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.metrics.accuracy import Judge, Probe, log_probs, marginal, ranks, top_k
from ppgn.networks import imagenet
from ppgn.networks.captioner import SentenceNetwork
from tests.networks.test_captioner import images, tiny


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
        found = ranks(log_probs(Brightness(), shown, sentences, batch_size=2), [0, 2, 3])
        assert found.tolist() == [1, 2, 3]
    tied = log_probs(Brightness(), pictures[:1], ["a", "b", "abc"])
    assert ranks(tied, [0]).item() == 3  # a tie counts against


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
    assert ranks(log_p, [1, 1]).tolist() == [3, 3]  # tied with the third in the first row
    assert ranks(expected, [1, 1]).tolist() == [1, 3]


def test_a_probe_is_the_penalised_maximum_of_the_likelihood() -> None:
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    x, labels = torch.randn(60, 4).double() * torch.tensor([1.0, 5.0, 0.1, 2.0]) + 3, torch.arange(60) % 3
    x[:, 0] += labels
    log_p = Probe(x, labels, strength=0.5)(x)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(60))
    z = (x - x.mean(0)) / x.std(0, correction=0)
    slope, bias = torch.zeros(3, 4).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = 0.5 * F.cross_entropy(z @ slope.T + bias, labels, reduction="sum") + slope.square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    expected = (z @ slope.T + bias).log_softmax(1).detach().float()
    torch.testing.assert_close(log_p, expected, atol=2e-3, rtol=0)


def test_a_probe_learns_what_a_line_separates() -> None:
    pytest.importorskip("sklearn")
    x = torch.tensor([[-2.0, 0.0], [-1.0, 1.0], [1.0, 0.0], [2.0, 1.0]])
    assert Probe(x, [0, 0, 1, 1], strength=10)(torch.tensor([[-5.0, 3.0], [5.0, 3.0]])).argmax(1).tolist() == [0, 1]


def test_labels_that_do_not_fit_are_refused() -> None:
    pytest.importorskip("sklearn")
    for labels in ([0, 0, 0], [0, 2, 2], [0, 1]):
        with pytest.raises(InputError, match="linear probe: 3 rows"):
            Probe(torch.rand(3, 2), labels)
