"""Networks that judge sentences about images: an LRCN of our own, and the door to others.

LRCN: Donahue et al. 2015 (arXiv 1411.4389), the factored two-layer variant that the captions of PPGN (arXiv
1612.00005) used: the first LSTM reads words only, the second its output and, at every word, the image's features.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn import files
from ppgn.errors import InputError, nearest
from ppgn.networks import _weights, imagenet
from ppgn.networks.network import Network
from ppgn.numerics.linear import Linear, linear

FORMAT = "ppgn-captioner-1"
END = 0  # starts and ends every sentence, as in the released LRCN
HUGGING_FACE = "huggingface/"

State = tuple[Tensor, Tensor]


def tokenize(text: str) -> list[str]:
    """The words of a sentence: lower-case runs of letters and digits, everything else separates them."""
    return re.findall(r"[^\W_]+", text.lower())


def vocabulary(sentences: Iterable[str], minimum: int) -> list[str]:
    """The words that occur `minimum` times or more, most frequent first, equals in alphabetical order."""
    counts = Counter(word for sentence in sentences for word in tokenize(sentence))
    return sorted((word for word, count in counts.items() if count >= minimum), key=lambda word: (-counts[word], word))


def word_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Logits (B, T, V) -> log-probabilities of tokens (T,), (B, T), in single precision at least."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return precise.log_softmax(2).gather(2, tokens.expand(len(logits), -1)[..., None])[..., 0]


class SentenceNetwork(nn.Module, ABC):
    """A frozen network that judges sentences about images; gradients flow to the images."""

    @abstractmethod
    def encode(self, sentence: str) -> Tensor:
        """The tokens of a sentence, (T,) int64. Raises `InputError` for one that the network cannot read."""

    @abstractmethod
    def log_probs(self, x: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], tokens (T,) -> log-probabilities (B, S) whose sum over S is log p(y | x).

        `truncated`: the gradient of the released sampler; raises `InputError` where the network has no such thing.
        """

    def captions(self, x: Tensor) -> list[str] | None:
        """What the network itself would say of each image (B, 3, H, W) in [0, 1]; None where it cannot speak."""
        return None

    def compare(self, x: Tensor, sentences: Sequence[Tensor]) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], tokens of N sentences -> log p(sentence | x), (B, N)."""
        return torch.stack([self.log_probs(x, tokens).sum(1) for tokens in sentences], 1)


class Cell(nn.LSTMCell):
    """`torch.nn.LSTMCell` by way of `ppgn.numerics.linear.linear`: a row is the same in any batch."""

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """Inputs (B, D), state of the step before -> state (output, memory), (B, H) each."""
        output, memory = (x.new_zeros(len(x), self.hidden_size),) * 2 if state is None else state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(output, self.weight_hh, self.bias_hh)
        read, keep, new, show = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + read.sigmoid() * new.tanh()
        return show.sigmoid() * memory.tanh(), memory


class LRCN(SentenceNetwork):
    """Pooled features of `layer` of a frozen `network` under two LSTMs of `width` units: log p(word | before, x).

    Words are known by index: 0 ends (and starts) a sentence, 1 to len(words) are `words`, the next one stands for words
    that are unknown, which can be read but are never written. Input and output embeddings are one matrix if they are
    `tied`. `dropout` acts in training. `card` holds facts about the weights.
    """

    def __init__(
        self,
        network: Network,
        words: Sequence[str],
        *,
        layer: str = "bn2",
        features: int = 1280,
        width: int = 384,
        dropout: float = 0.5,
        tied: bool = True,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        self.words = tuple(words)
        self.unknown = len(self.words) + 1
        self.features, self.width, self.dropout, self.tied = features, width, dropout, tied
        self.card = dict(card or {})
        self._index = {word: number for number, word in enumerate(self.words, start=1)}
        self.embedding = nn.Embedding(len(self.words) + 2, width)
        self.reader = Cell(width, width)  # sees words only
        self.project = Linear(features, width)
        self.writer = Cell(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(self.unknown))
        if not tied:
            self.output = nn.Linear(width, self.unknown, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def encode(self, sentence: str) -> Tensor:
        """Indices of the words and of the end, (T,). Raises `InputError` naming unknown words and their nearest."""
        words = tokenize(sentence)
        if not words:
            raise InputError(f"caption '{sentence}' has no words; expected a sentence, for example 'a dog runs'")
        strange = [word for word in dict.fromkeys(words) if word not in self._index]
        if strange:
            near = (", ".join(nearest(word, self.words)) or "nothing" for word in strange)
            named = ", ".join(f"'{word}' (nearest: {found})" for word, found in zip(strange, near, strict=True))
            raise InputError(f"the captioner does not know {named}; say it in words that it knows")
        return torch.tensor([*(self._index[word] for word in words), END])

    def read(self, sentence: str) -> list[int]:
        """Indices of the words and of the end; unknown words become the index of these. For training."""
        return [*(self._index.get(word, self.unknown) for word in tokenize(sentence)), END]

    def decode(self, tokens: Iterable[int]) -> str:
        """The sentence of indices, up to its end."""
        return " ".join(self.words[token - 1] for token in takewhile(lambda token: token != END, tokens))

    def look(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the layer's output, averaged over positions, (B, F)."""
        found = self.network.features(x, [self.layer])[self.layer]
        return found.mean((2, 3)) if found.dim() == 4 else found

    def log_probs(self, x: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], tokens (T,) -> log p of each word given those before it and x, (B, T).

        `truncated`: gradients reach the image through the features at the word itself, not through the memory of
        earlier words.
        """
        return word_log_probs(self.logits(self.look(x), tokens[None], truncated), tokens)

    def compare(self, x: Tensor, sentences: Sequence[Tensor]) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], looked at once, tokens of N sentences -> log p(sentence | x), (B, N)."""
        features = self.look(x)
        log_probs = (word_log_probs(self.logits(features, tokens[None]), tokens) for tokens in sentences)
        return torch.stack([words.sum(1) for words in log_probs], 1)

    def logits(self, features: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """Features (B, F), tokens (B or 1, T) -> logits (B, T, V) of what stands at each place, given what is before.

        V counts the end and the words, not the unknown one.
        """
        outputs = self.outputs(features, tokens, truncated)
        return self.write(outputs.flatten(0, 1)).view(*outputs.shape[:2], self.unknown)

    def outputs(self, features: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """What the second LSTM gives at each place, (B, T, width), which `write` turns into logits; see `logits`."""
        image = self._project(features)
        before = F.pad(tokens[:, :-1], (1, 0), value=END)
        heard: State | None = None
        state: State | None = None
        outputs = []
        for word in before.unbind(1):
            if truncated and state is not None:
                state = state[0].detach(), state[1].detach()
            heard, state = self._step(word, image, heard, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)

    def write(self, outputs: Tensor) -> Tensor:
        """Outputs of the second LSTM (N, width) -> logits (N, V)."""
        dropped = F.dropout(outputs, self.dropout, self.training)
        words = self.embedding.weight[: self.unknown] if self.tied else self.output.weight
        return linear(dropped, words, self.bias)

    def _project(self, features: Tensor) -> Tensor:
        image: Tensor = self.project(F.dropout(features, self.dropout, self.training))
        return F.dropout(image, self.dropout, self.training)

    def _step(self, word: Tensor, image: Tensor, heard: State | None, state: State | None) -> tuple[State, State]:
        """Words (B or 1,), images (B, width) and the states of both LSTMs -> their next states."""
        embedded = F.dropout(self.embedding(word), self.dropout, self.training)
        heard = self.reader(embedded, heard)
        language = F.dropout(heard[0], self.dropout, self.training).expand(len(image), -1)
        return heard, self.writer(torch.cat([language, image], 1), state)

    def captions(self, x: Tensor) -> list[str]:
        """What beam search says of each image (B, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            return [self.decode(tokens) for tokens in self.search(self.look(x))]

    @torch.no_grad()
    def search(self, features: Tensor, beams: int = 8, longest: int = 20, length_power: float = 0.5) -> list[list[int]]:
        """Features (B, F) -> the tokens of the best sentence of each, its end included, by beam search.

        Best is log p / length ** `length_power` among those that end within `longest` tokens; 0 asks for the likeliest.
        """
        batch, vocabulary = len(features), self.unknown
        image = self._project(features).repeat_interleave(beams, 0)
        score = features.new_full((batch, beams), -torch.inf)
        score[:, 0] = 0.0  # all beams are one at the start
        tokens = torch.empty(batch, beams, 0, dtype=torch.long, device=features.device)
        word = torch.full((batch * beams,), END, device=features.device)
        ended = torch.zeros(batch, beams, dtype=torch.bool, device=features.device)
        heard: State | None = None
        state: State | None = None
        only_end = features.new_full((vocabulary,), -torch.inf)
        only_end[END] = 0.0
        for _ in range(longest):
            heard, state = self._step(word, image, heard, state)
            log_p = self.write(state[0]).log_softmax(1).view(batch, beams, vocabulary)
            log_p = torch.where(ended[..., None], only_end, log_p)
            score, best = (score[..., None] + log_p).flatten(1).topk(beams, dim=1)
            origin, chosen = best // vocabulary, best % vocabulary
            tokens = torch.cat([tokens.gather(1, origin[..., None].expand_as(tokens)), chosen[..., None]], 2)
            rows = (origin + beams * torch.arange(batch, device=origin.device)[:, None]).flatten()
            heard, state = (heard[0][rows], heard[1][rows]), (state[0][rows], state[1][rows])
            word, ended = chosen.flatten(), ended.gather(1, origin) | (chosen == END)
            if bool(ended.all()):
                break
        length = (tokens != END).sum(2) + 1
        ranked = (score / length**length_power).masked_fill(~ended, -torch.inf)
        picked = torch.where(ended.any(1), ranked.argmax(1), score.argmax(1))
        found = zip(tokens[torch.arange(batch), picked].tolist(), length[torch.arange(batch), picked], strict=True)
        return [sentence[: int(count)] for sentence, count in found]

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, weights in half precision, without those of a network that packages bring.

        Raises `InputError` for a network of one's own, which no name builds.
        """
        if not self.network.restorable and self.network.name not in imagenet.available():
            raise InputError(f"captioner: no name builds the network {self.network.name}; use one of imagenet.load")
        config = {
            "network": self.network.name,
            "size": self.network.preprocessing.size,
            **{name: getattr(self, name) for name in ("layer", "features", "width", "dropout", "tied")},
        }
        if not self.network.restorable:
            config["classes"] = self.network.classes
        files.save(path, self._stored(), FORMAT, config=config, words=self.words, card=self.card)

    def _stored(self) -> dict[str, Tensor]:
        brought = "network." if self.network.restorable else "\0"
        return {name: value.half() for name, value in self.state_dict().items() if not name.startswith(brought)}


def load(name: str | Path = "captioner", others: Sequence[str] = ()) -> SentenceNetwork:
    """A network that judges sentences, frozen and in evaluation mode.

    `name`: a shipped captioner's, the path of a .safetensors file that `LRCN.save` wrote, or "huggingface/NAME", a
    captioner or a dual encoder like CLIP of the `transformers` package. A dual encoder weighs the sentence against
    `others`; see `ppgn.networks.huggingface`. Nothing is unpickled. Raises `InputError` for an unknown name, for a file
    that is no captioner, and for others that nothing is weighed against.
    """
    if str(name).startswith(HUGGING_FACE):
        from ppgn.networks import huggingface

        return huggingface.load(str(name).removeprefix(HUGGING_FACE), tuple(others))
    if others:
        raise InputError(f"others={list(others)}: '{name}' is a captioner; only a dual encoder weighs against them")
    path = files.find("captioner", name, FORMAT, f"give the path of a .safetensors file, or {HUGGING_FACE}NAME")
    tensors, metadata = files.load(path, FORMAT, advice="give one of a captioner")
    problem = f"'{path}' does not fit the captioner that it names"
    try:
        config, words, card = dict(metadata["config"]), metadata["words"], metadata["card"]
        inside = {"weights": None, "classes": config.pop("classes")} if "classes" in config else {}
        network = imagenet.load(config.pop("network"), size=config.pop("size"), **inside)
        captioner = LRCN(network, words, **config, card=card)
    except InputError:
        raise
    except Exception as error:  # of whatever kind: the values are the file's
        raise InputError(f"{problem} ({error}); get it anew") from error
    brought = captioner.state_dict() if network.restorable else {}
    brought = {name: value for name, value in brought.items() if name.startswith("network.")}
    _weights.assign(captioner, {**brought, **tensors}, problem)
    return captioner.eval().requires_grad_(False)
