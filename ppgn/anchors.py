"""Anchors: photographs of a prior's bank that a condition likes, found with few looks at what G draws of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ppgn import files, paths
from ppgn.conditions.algebra import Combination
from ppgn.conditions.base import Plain
from ppgn.conditions.classifier import Classifier
from ppgn.contracts import AnchoringPrior, Condition, Generator
from ppgn.errors import InputError
from ppgn.numerics.convolution import AlikeInAnyBatch

FORMAT = "ppgn-answers-2"  # 1 had no digest
SURVEY = 512  # members that everybody is asked about, to guess what they would say of the others
SHORTLIST = 192  # members that a condition is asked about because it was guessed to like them
RIDGE = 100.0  # of the guess, a linear regression on codes, in members
BATCH = 16  # drawings at a time
CHUNK = 1024  # guesses at a time
LARGEST = torch.finfo(torch.float16).max
SIMPLE = (str, int, float, tuple)  # settings that a digest counts
Says = Callable[[nn.Module], Tensor]  # a network or a condition -> what it says of some drawings, (N, K)


def find(generator: Generator, prior: AnchoringPrior, condition: Condition) -> tuple[Tensor, Tensor]:
    """Codes b of the members that suit the condition best, (N, *code_shape), and log p(y | G(b)) of each, (N,).

    A condition, or the network that it reads, is asked about the first `SURVEY` members; a linear regression guesses
    what it would say of all others; it is asked about the `SHORTLIST` of the best guesses, and these are the answer.
    Conditions combined by operators are so guessed and asked one by one. What is found depends on the model and the
    condition alone, not on what `Answers` remembers from earlier runs.

    Raises `InputError` where the condition gives no finite number for any of them.
    """
    rows, log_p = Answers(generator, prior).best(condition)
    finite = log_p.isfinite()
    if not bool(finite.any()):
        raise InputError("the condition gives no finite log p for any of the photographs tried as anchors")
    return prior.codes(rows[finite]), log_p[finite]


def _log_p(condition: Condition, says: Says) -> Tensor:
    """log p(y | x), (N,), of the drawings that `says` answers for."""
    if isinstance(condition, Combination):
        return condition.combine(torch.stack([_log_p(cast(Condition, term), says) for term in condition.terms]))
    if isinstance(condition, Classifier):
        return condition.read(says(condition.network))
    return says(cast(nn.Module, condition)).squeeze(1)


class Answers:
    """What networks and conditions say of G(b), b the members of a bank: asked once and remembered, on disk too.

    Answers are rounded to half precision, so that remembered ones are those that were given. The disk remembers those
    of this package's classes, and which members were the `best` for a condition, in `paths.cache()`, under a digest of
    all weights and settings that took part. A file that cannot be read or written is as good as none.
    """

    def __init__(self, generator: Generator, prior: AnchoringPrior) -> None:
        self.generator, self.prior = generator, prior
        self.model = digest(cast(nn.Module, generator), cast(nn.Module, prior))
        self.known: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # of whom was asked: rows (N,), rising, and answers
        self.digests: dict[nn.Module, str] = {}  # of whom was asked
        # likewise, of a guess: (K, N), and which N numbers of a code and a 1 behind it count
        self.weights: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def best(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The members on the shortlist of a condition, rows (N,), rising, and its log p of each, (N,), float32."""
        size = min(SHORTLIST, len(self.prior))
        path = self._path(f"anchors-{SURVEY}-{size}-{RIDGE:g}", cast(nn.Module, condition))
        rows, said = _recall(path, torch.float32)
        if said.shape == (size, 1):
            return rows, said[:, 0]
        rows = self.guesses(condition).topk(size).indices.sort().values
        log_p = _log_p(condition, partial(self.ask, rows)).float()
        _remember(path, rows, log_p[:, None])
        return rows, log_p

    def ask(self, rows: Tensor, thing: nn.Module) -> Tensor:
        """What a network or condition says of members, rows (N,) -> (N, K), K = 1 for a condition."""
        path = self._path("answers", thing)
        known, said = self.known[thing] if thing in self.known else _recall(path, torch.float16)
        missing = rows[~torch.isin(rows, known)].unique()
        if len(missing):
            new = self._say(thing, missing)
            known, order = torch.cat([known, missing]).sort()
            said = torch.cat([said.reshape(-1, new.shape[1]), new])[order]
            _remember(path, known, said)
        self.known[thing] = known, said
        return said[torch.searchsorted(known, rows)].float()

    def guesses(self, condition: Condition) -> Tensor:
        """The log p(y | G(b)) that the condition is guessed to give, of every member, (K,)."""
        every = torch.arange(len(self.prior)).split(CHUNK)
        return torch.cat([_log_p(condition, partial(self.guess, rows)) for rows in every])

    def guess(self, rows: Tensor, thing: nn.Module) -> Tensor:
        """What it would say of members, rows (N,) -> (N, K), by the prior's own regression of it or the survey's."""
        if thing not in self.weights:
            weight = self.prior.regression(self._digest(thing))
            if weight is None:
                survey = torch.arange(min(SURVEY, len(self.prior)))
                weight = regression(self.prior.codes(survey), self.ask(survey, thing))
            counting = weight.any(dim=0).nonzero()[:, 0].cpu()
            self.weights[thing] = weight.float().cpu()[:, counting], counting
        weight, counting = self.weights[thing]
        return _with_one(self.prior.codes(rows)).float().cpu()[:, counting] @ weight.T

    def _digest(self, thing: nn.Module) -> str:
        if thing not in self.digests:
            self.digests[thing] = digest(thing)
        return self.digests[thing]

    @torch.no_grad()
    def _say(self, thing: nn.Module, rows: Tensor) -> Tensor:
        said = []
        for part in rows.split(BATCH):
            codes = self.prior.codes(part)
            alike = AlikeInAnyBatch() if codes.device.type == "cpu" else nullcontext()
            with alike, torch.autocast(codes.device.type, enabled=False):
                said.append(thing(self.generator(codes)).reshape(len(part), -1))
        return torch.cat(said).float().clamp(-LARGEST, LARGEST).half().cpu()

    def _path(self, what: str, thing: nn.Module) -> Path | None:
        return paths.cache() / f"{what}-{self.model}-{self._digest(thing)}.safetensors" if _is_ours(thing) else None


def _is_ours(thing: nn.Module) -> bool:
    """Whether the digest of a network or condition tells what it says: not of others' classes and functions."""
    if isinstance(thing, Combination):
        return all(map(_is_ours, thing.terms))
    return type(thing).__module__.startswith("ppgn.") and not isinstance(thing, Plain)


def _recall(path: Path | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What `_remember` wrote there: rows (N,) and what was said of them, (N, K); nothing of it, (0,) alike, if none."""
    with suppress(InputError, KeyError):
        saved = files.load(path, FORMAT)[0] if path and path.is_file() else {}
        rows, said = saved["rows"], saved["said"]
        if said.dtype == dtype and said.dim() == 2 and rows.shape == said.shape[:1]:
            return rows, said
    return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=dtype)


def _remember(path: Path | None, rows: Tensor, said: Tensor) -> None:
    if path is not None:
        with suppress(InputError):
            files.save(path, {"rows": rows, "said": said}, FORMAT)


def regression(codes: Tensor, said: Tensor) -> Tensor:
    """The linear map from codes (N, D) and 1 to what was said of them, (N, K) -> (K, D + 1)."""
    x = _with_one(codes.double().cpu())
    weight: Tensor = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]).double(), x.T @ said.double())
    return weight.T.float()


def _with_one(codes: Tensor) -> Tensor:
    return torch.cat([codes, codes.new_ones(len(codes), 1)], dim=1)


def digest(*modules: nn.Module) -> str:
    """A short text that is the same for modules with the same weights, buffers and settings.

    Settings of a class that is not `counted` follow from the shapes of its weights.
    """
    found = hashlib.blake2b(digest_size=10)
    for module in modules:
        for name, part in module.named_modules():
            if type(part).__module__.startswith("ppgn.") and getattr(type(part), "counted", True):
                told = {key: value for key, value in vars(part).items() if isinstance(value, SIMPLE)}
                told = {key: value for key, value in told.items() if key[0] != "_" and key != "training"}
                found.update(repr((name, type(part).__name__, sorted(told.items()))).encode())
        for name, tensor in chain(module.named_parameters(), module.named_buffers()):
            precise = tensor.detach().float() if tensor.is_floating_point() else tensor
            found.update(name.encode())
            found.update(precise.contiguous().cpu().numpy().data)
    return found.hexdigest()
