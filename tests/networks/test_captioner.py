"""The captioner against closed forms, an independent transcription, and all sentences there are."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks import captioner as captioners
from ppgn.networks import imagenet
from ppgn.networks.captioner import END, LRCN, tokenize, vocabulary
from ppgn.networks.network import Network, Preprocessing

WORDS = ("a", "dog", "runs")


def tiny(seed: int = 0, words: tuple[str, ...] = WORDS, dtype: torch.dtype = torch.float64) -> LRCN:
    """Five features of a convolution, two LSTMs of four units, frozen."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, 5, 2), nn.Tanh())
    network = Network(body, Preprocessing(), name="tiny", restorable=False)
    captioner = LRCN(network, words, layer="1", features=5, width=4, dropout=0.5)
    for parameter in captioner.parameters():
        nn.init.normal_(parameter)
    return captioner.to(dtype).eval().requires_grad_(False)


def images(count: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def transcribed(captioner: LRCN, features: Tensor, tokens: list[int]) -> list[Tensor]:
    """log p of each token (B,), with PyTorch's own cells, a list of features of its own for every step."""
    cells = []
    for part, inputs in ((captioner.reader, 4), (captioner.writer, 8)):
        cell = nn.LSTMCell(inputs, 4).double()
        cell.load_state_dict(part.state_dict())
        cells.append(cell.requires_grad_(False))
    hear, write = cells
    weight, bias = captioner.project.weight, captioner.project.bias
    first = second = (features.new_zeros(len(features), 4), features.new_zeros(len(features), 4))
    found, before = [], END
    for token in tokens:
        first = hear(captioner.embedding.weight[before].expand(len(features), -1), first)
        second = write(torch.cat([first[0], features @ weight.T + bias], 1), second)
        scores = second[0] @ captioner.embedding.weight[:4].T + captioner.bias
        found.append(scores[:, token] - scores.exp().sum(1).log())
        before = token
    return found


def test_words_are_runs_of_letters_and_digits() -> None:
    assert tokenize(" A man's 2 dogs , RUN -- fast!") == ["a", "man", "s", "2", "dogs", "run", "fast"]
    assert vocabulary(["b a c", "a b", "A d"], 2) == ["a", "b"]


def test_log_probs_without_weights_are_the_biases() -> None:
    captioner = tiny()
    for parameter in captioner.parameters():
        nn.init.zeros_(parameter)
    captioner.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    total = math.log(sum(math.exp(k) for k in range(4)))
    found = captioner.log_probs(images(), captioner.encode("Dog runs."))
    expected = torch.tensor([[2 - total, 3 - total, 0 - total]] * 2).double()
    torch.testing.assert_close(found, expected)


def test_log_probs_are_those_of_the_written_out_network() -> None:
    captioner, x = tiny(), images()
    features = captioner.network.body(x).mean((2, 3))
    expected = torch.stack(transcribed(captioner, features, [1, 2, 3, END]), 1)
    tokens = captioner.encode("a dog runs")
    assert tokens.tolist() == [1, 2, 3, END]
    torch.testing.assert_close(captioner.log_probs(x, tokens), expected)
    torch.testing.assert_close(captioner.log_probs(x, tokens, truncated=True), expected)
    other = captioner.encode("dog")
    both = torch.stack([captioner.log_probs(x, one).sum(1) for one in (tokens, other)], 1)
    torch.testing.assert_close(captioner.compare(x, [tokens, other]), both)


def test_the_probabilities_of_all_continuations_add_up_to_one() -> None:
    captioner = tiny()
    sentences = [list(s) for n in range(3) for s in itertools.product([1, 2, 3], repeat=n)]
    ended = [captioner.log_probs(images(), torch.tensor([*s, END])).sum(1).exp() for s in sentences]
    cut = [captioner.log_probs(images(), torch.tensor(s)).sum(1).exp() for s in itertools.product([1, 2, 3], repeat=3)]
    torch.testing.assert_close(torch.stack(ended + cut).sum(0), torch.ones(2).double())


def test_gradients_reach_the_image_exactly() -> None:
    captioner = tiny()
    tokens = captioner.encode("a dog")
    assert torch.autograd.gradcheck(lambda x: captioner.log_probs(x, tokens).sum(1), images(1).requires_grad_())


def test_truncated_gradients_flow_through_the_features_at_each_word_alone() -> None:
    captioner, tokens = tiny(), [1, 2, 3, END]
    x = images().requires_grad_()
    (found,) = torch.autograd.grad(captioner.log_probs(x, torch.tensor(tokens), truncated=True).sum(), x)
    features = captioner.network.body(x).mean((2, 3))
    seed = torch.zeros_like(features)
    for t in range(4):  # the state before word t is a number, whatever it was made from
        weights = captioner.project.weight, captioner.project.bias
        first = second = (features.new_zeros(2, 4), features.new_zeros(2, 4))
        for before, token in zip([END, *tokens[:t]], tokens[: t + 1], strict=True):
            seen = features.detach().requires_grad_()
            first = tuple(part.detach() for part in first)
            second = tuple(part.detach() for part in second)
            first = captioner.reader(captioner.embedding.weight[before].expand(2, -1), first)
            second = captioner.writer(torch.cat([first[0], seen @ weights[0].T + weights[1]], 1), second)
            log_p = (second[0] @ captioner.embedding.weight[:4].T + captioner.bias).log_softmax(1)[:, token]
        seed += torch.autograd.grad(log_p.sum(), seen)[0]
    (expected,) = torch.autograd.grad(features, x, seed)
    torch.testing.assert_close(found, expected)
    (full,) = torch.autograd.grad(captioner.log_probs(x, torch.tensor(tokens)).sum(), x)
    assert not torch.allclose(found, full, rtol=0.05)


@pytest.mark.parametrize("power", [0.0, 0.7])
def test_a_beam_of_all_sentences_finds_the_best_one(power: float) -> None:
    for seed in range(3):
        captioner, x = tiny(seed), images(3)
        scores = {}
        for n in range(4):
            for words in itertools.product([1, 2, 3], repeat=n):
                tokens = (*words, END)
                scores[tokens] = captioner.log_probs(x, torch.tensor(tokens)).sum(1) / len(tokens) ** power
        best = [max(scores, key=lambda tokens: float(scores[tokens][row])) for row in range(3)]
        found = captioner.search(captioner.look(x), beams=256, longest=4, length_power=power)
        assert [tuple(tokens) for tokens in found] == best


def test_a_single_beam_is_greedy_and_a_sentence_without_end_is_cut() -> None:
    captioner, x = tiny(), images(1)
    captioner.bias[END] = -100.0
    (found,) = captioner.search(captioner.look(x), beams=1, longest=5)
    expected: list[int] = []
    for _ in range(5):
        features = captioner.look(x)
        options = [float(transcribed(captioner, features, [*expected, k])[-1]) for k in range(4)]
        expected.append(max(range(4), key=options.__getitem__))
    assert found == expected
    assert captioner.captions(x)[0].split()[:5] == [WORDS[k - 1] for k in expected]


def test_a_row_is_the_same_in_any_batch() -> None:
    captioner = tiny(dtype=torch.float32)
    features = torch.randn(9, 5)
    tokens = captioner.encode("a dog runs")[None]
    together = captioner.logits(features, tokens)
    alone = torch.cat([captioner.logits(row[None], tokens) for row in features])
    assert torch.equal(together, alone)


def test_unknown_words_are_named_with_their_nearest() -> None:
    captioner = tiny(words=("dog", "dogs", "grass"))
    with pytest.raises(InputError, match=r"does not know 'dgos' \(nearest: dogs, dog\), 'zx' \(nearest: nothing\)"):
        captioner.encode("dgos zx grass dgos")
    with pytest.raises(InputError, match="caption '!' has no words"):
        captioner.encode("!")
    assert captioner.read("dogs zx grass") == [2, captioner.unknown, 3, END]
    assert captioner.decode([2, 3, END, 1]) == "dogs grass"


def test_an_unknown_word_is_read_and_never_written() -> None:
    captioner = tiny()
    tokens = torch.tensor([[captioner.unknown, 1, END]])
    assert captioner.logits(torch.randn(2, 5).double(), tokens).shape == (2, 3, 4)


def shipped(seed: int = 0) -> LRCN:
    torch.manual_seed(seed)
    network = imagenet.load("efficientnet_lite0", size=32)
    return LRCN(network, WORDS, width=4, dropout=0.25, card={"data": "none"}).eval().requires_grad_(False)


def test_a_captioner_comes_back_from_its_file(tmp_path: Path) -> None:
    captioner = shipped()
    path = tmp_path / "mine.safetensors"
    captioner.save(path)
    assert path.stat().st_size < 20_000
    assert not [name for name in safetensors.torch.load_file(path) if name.startswith("network.")]
    found = captioners.load(path)
    assert isinstance(found, LRCN)
    assert (found.words, found.dropout, found.card) == (WORDS, 0.25, {"data": "none"})
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    x, tokens = torch.rand(2, 3, 16, 16), captioner.encode("a dog runs")
    torch.testing.assert_close(found.log_probs(x, tokens), captioner.log_probs(x, tokens), atol=5e-3, rtol=0)
    again = tmp_path / "again.safetensors"
    found.save(again)
    before, after = safetensors.torch.load_file(path), safetensors.torch.load_file(again)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_files_that_are_no_captioners_are_refused(tmp_path: Path) -> None:
    def written(name: str, tensors: dict[str, Tensor], **metadata: str) -> Path:
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(safetensors.torch.save(tensors, metadata))
        return path

    with pytest.raises(InputError, match="unknown captioner 'captionr'"):
        captioners.load("captionr")
    with pytest.raises(InputError, match=r"no checkpoint file 'missing\.safetensors'"):
        captioners.load("missing.safetensors")
    with pytest.raises(InputError, match="has format 'ppgn-1', not 'ppgn-captioner-1'"):
        captioners.load(written("model", {}, format="ppgn-1"))
    with pytest.raises(InputError, match="is damaged"):
        captioners.load(written("empty", {}, format=captioners.FORMAT, config="{"))
    path = tmp_path / "text.safetensors"
    path.write_text("text")
    with pytest.raises(InputError, match="is not a safetensors file"):
        captioners.load(path)
    shipped().save(tmp_path / "mine.safetensors")
    with safe_open(tmp_path / "mine.safetensors", "pt") as file:
        metadata = {name: text for name, text in file.metadata().items() if name != "digest"}
    for tensors, problem in (({"bias": torch.zeros(9)}, r"has shape \(9,\), expected \(4,\)"), ({}, "is missing")):
        with pytest.raises(InputError, match=f"does not fit the captioner that it names: 'bias' {problem}"):
            captioners.load(written("other", tensors, **metadata))
    with pytest.raises(InputError, match="no name builds the network tiny"):
        tiny().save(tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match=r"others=\['a cat'\]: 'captioner' is a captioner"):
        captioners.load("captioner", others=["a cat"])
