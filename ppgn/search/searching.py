"""Ask and tell: pictures to score, scores back, better pictures; no gradient, one file to go on from."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import ppgn.model
from ppgn import anchors, arguments, building, files
from ppgn.contracts import Generator
from ppgn.errors import InputError
from ppgn.search import pareto
from ppgn.search.contract import SearchSampler, Space

FORMAT = "ppgn-search-1"
CLOSE = 1e-3  # how far a code asked again may be from the code asked before, in σ


class Search:
    """Codes that evolve by any score: `ask` for pictures, `tell` how they scored, and so on.

        search = ppgn.Search(sampler="cmaes", population=40, seed=0)
        codes, pictures = search.ask()
        search.tell(scores)

    model: as `ppgn.load` takes it. sampler: a name of conf/search, "module:Class", a mapping or an object
    (`ppgn.search.contract.SearchSampler`). population: pictures of a generation. sigma: the standard deviation of
    codes, by and large; they are signed and nowhere clipped. prior: as `PPGN.choose_prior` takes it; None is what suits
    the sampler. Raises `InputError` for what cannot be used.
    """

    def __init__(
        self,
        model: Any = "natural64",
        sampler: Any = "cmaes",
        population: int = 40,
        seed: int = 0,
        *,
        sigma: float = 1.0,
        prior: Any = None,
        batch_size: int = 8,
        device: Any = "auto",
        trust: Any = (),
    ) -> None:
        arguments.whole("population", population, 2)
        arguments.whole("seed", seed, 0)
        arguments.whole("batch_size", batch_size)
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < float("inf"):
            raise InputError(f"sigma={sigma} cannot be used; expected a finite number above 0")
        self.sampler = building.part("search", sampler)
        if not isinstance(self.sampler, SearchSampler):
            raise InputError(f"sampler {type(self.sampler).__name__} cannot search: it has no `begin`; give cmaes")
        self.model = ppgn.model.load(model, arguments.device(device), trust)
        self.generator = cast(Generator, self.model.generator)
        self.batch_size = batch_size
        chosen = self.model.choose_prior(prior, self.sampler)
        shape = tuple(self.generator.code_shape)
        self.space = Space(shape, population, seed, float(sigma), chosen, self.model.device)
        self._begin()

    def _begin(self) -> None:
        self._walk = self.sampler.begin(self.space)
        self._codes: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._asked: Tensor | None = None

    @property
    def generation(self) -> int:
        """How many generations have been told."""
        return len(self._scores)

    @property
    def codes(self) -> Tensor:
        """The codes told so far, (generations, population, *code_shape)."""
        none = torch.empty(0, self.space.population, *self.space.code_shape)
        return torch.stack(self._codes) if self._codes else none

    @property
    def scores(self) -> Tensor:
        """Their scores, (generations, population, K) float64, NaN where they failed."""
        return torch.stack(self._scores) if self._scores else torch.empty(0, self.space.population, 1).double()

    def ask(self) -> tuple[Tensor, Tensor]:
        """The next generation: codes (population, *code_shape) on the CPU and pictures (population, *signal_shape).

        Asked again before `tell`, it is the same.
        """
        if self._asked is None:
            asked = self._walk.ask()
            if asked.shape != (self.space.population, *self.space.code_shape):
                expected = (self.space.population, *self.space.code_shape)
                raise InputError(f"sampler: it asks for codes {tuple(asked.shape)}; expected {expected}")
            self._asked = asked.detach().float().cpu()
        return self._asked, self.draw(self._asked)

    def draw(self, codes: Tensor) -> Tensor:
        """Codes (N, *code_shape) -> signals (N, *signal_shape), on the model's device."""
        return torch.cat([self.model.decode(part.to(self.model.device)) for part in codes.split(self.batch_size)])

    def tell(self, scores: Any) -> None:
        """The scores of the pictures last asked, more being better: (population,), or K of each, (population, K).

        A number that is not finite says that this picture failed. Anything that PyTorch makes a tensor of will do.
        Raises `InputError` for other shapes, and where all failed: then the same pictures can be told again.
        """
        if self._asked is None:
            raise InputError("tell comes after ask: ask for the next pictures first")
        told = torch.as_tensor(scores, dtype=torch.float64).detach().cpu()
        told = told[:, None] if told.dim() == 1 else told
        count = self.scores.shape[2] if self._scores else (told.shape[1] if told.dim() == 2 else 1)
        if told.dim() != 2 or told.shape != (len(self._asked), max(count, 1)):
            expected = f"expected {len(self._asked)}, or so many rows" + (f" of {count}" if self._scores else "")
            raise InputError(f"scores {tuple(told.shape)} for {len(self._asked)} pictures; {expected}")
        fitness = pareto.fitness(told)
        if not bool(fitness.isfinite().any()):
            raise InputError(f"none of the {len(told)} scores is a finite number; tell the same pictures again")
        self._walk.tell(fitness)
        self._codes.append(self._asked)
        self._scores.append(told.where(told.isfinite(), torch.nan))
        self._asked = None

    def best(self, count: int = 1) -> tuple[Tensor, Tensor]:
        """The codes (N, *code_shape) and scores (N, K) of up to `count` pictures, best first; of several, the front.

        Raises `InputError` before the first `tell`.
        """
        if not self._scores:
            raise InputError("nothing has been told yet; ask and tell first")
        codes, scores = self.codes.flatten(0, 1), self.scores.flatten(0, 1)
        rows = scores.isfinite().all(1).nonzero()[:, 0]
        if scores.shape[1] > 1:
            rows = rows[pareto.front(scores[rows])]
        order = rows[pareto.fitness(scores[rows]).argsort(descending=True, stable=True)][:count]
        return codes[order], scores[order]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides which codes are asked, but for the scores; JSON-able."""
        kind = type(self.sampler)
        values = asdict(cast(Any, self.sampler)) if is_dataclass(self.sampler) else {}
        space = {"population": self.space.population, "seed": self.space.seed, "sigma": self.space.sigma}
        named = {"model": anchors.digest(cast(Any, self.generator)), "prior": self.model.name_of(self.space.prior)}
        every = {"sampler": {"_target_": f"{kind.__module__}.{kind.__qualname__}", **values}, **named, **space}
        plain: dict[str, Any] = json.loads(json.dumps(every))
        return plain

    def save(self, path: str | Path) -> None:
        """Write all that was told into one safetensors file, whole or not at all. Raises `InputError`."""
        tensors = {"codes": self.codes, "scores": self.scores}
        files.save(path, tensors, FORMAT, settings=self.settings)

    def load(self, path: str | Path) -> None:
        """Go on from what `save` wrote, as if there had been no pause; what was told before is forgotten.

        Raises `InputError` for a file of other settings, a damaged one, and one that was written by a version whose
        sampler asks otherwise.
        """
        tensors, metadata = files.load(path, FORMAT, advice="give one that `Search.save` wrote")
        own, told = self.settings, metadata["settings"]
        other = next((key for key in own if told.get(key) != own[key]), None)
        if other is not None:
            raise InputError(f"'{path}' is of {other}={told.get(other)}, not {own[other]}; give that, or another file")
        self._begin()
        for codes, scores in zip(tensors["codes"], tensors["scores"], strict=True):
            if not torch.allclose(self._walk.ask(), codes, rtol=CLOSE, atol=CLOSE * self.space.sigma):
                raise InputError(f"'{path}' was written by another version, whose sampler asks otherwise; begin anew")
            self._walk.tell(pareto.fitness(scores))
            self._codes.append(codes)
            self._scores.append(scores)
