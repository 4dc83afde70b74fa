"""What all evaluations are given: declared, checked and loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import ppgn.model
from ppgn import arguments
from ppgn.conditions import words
from ppgn.contracts import Condition, Generator
from ppgn.errors import InputError
from ppgn.evaluation.sources import SIDE, Source, side_of
from ppgn.evaluation.table import Table, plain
from ppgn.metrics import accuracy, fidelity
from ppgn.model import PPGN
from ppgn.photographs import Photographs

# What decides no figure, or stands apart.
FREE = ("model", "data", "batch_size", "device", "out", "overwrite", "progress", "trust")


@dataclass(frozen=True, kw_only=True)
class Task:
    """The arguments that evaluations share. Each part is a name, "module:Class", a mapping or the object itself."""

    # -- what to measure --
    model: Any = "natural64"  # what draws: a name that `ppgn models` lists, or a .safetensors file
    # a folder of photographs: val_images.npy, uint8 (N, S, S, 3), in it or below, or else picture files
    data: Any = None
    n: int = 2000  # how many photographs are compared with, spread evenly
    reduce_to: int = SIDE  # pixels a side that larger pictures are reduced to before they are judged, photographs too
    # -- how samples are drawn --
    condition: Any = "imagenet"  # the network that is asked for the targets
    seeds: Any = "0-7"  # the chains of each target
    prior: Any = None  # what keeps pictures natural (mixture, joint, dae, gaussian); null is what suits the sampler
    sampler: Any = None  # the kernel and its settings; null is what suits prior and condition, as in `ppgn sample`
    steps: int | None = None  # steps for each sample; null is the sampler's own number
    # -- how it is run --
    trust: Any = ()  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    batch_size: int = 8  # pictures or chains at a time
    device: Any = "auto"  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False
    out: Any = None  # a folder, to which every row is written as soon as it is measured; one run at a time works there
    overwrite: bool = False  # true replaces the results of an earlier run in `out`

    def begin(self, what: str, **more: Any) -> Table:
        """Check these arguments and `more`, the evaluation's own -> its table, still empty. Raises `InputError`."""
        counts = (("n", self.n, 2), ("batch_size", self.batch_size, 1), ("reduce_to", self.reduce_to, 1))
        for name, value, least in (*counts, ("steps", self.steps, 1)):
            if (name, value) != ("steps", None):
                arguments.whole(name, value, least)
        if self.data is None:
            raise InputError("data is missing: give data=FOLDER, with photographs in it")
        for name, value in more.items():
            if name == "count":
                arguments.whole(name, value, 2)
            listed = name in ("classes", "layers", "systems", "experiment", "holes") and value is not None
            if listed and (isinstance(value, str) or not value or len(set(value)) < len(value)):
                shown = value if isinstance(value, str) else ",".join(map(str, value))
                raise InputError(f"{name}=[{shown}]: expected one name or more, each once")
        if len(more.get("classes", "two")) * len(self.seed_list) < 2:
            raise InputError("classes and seeds make a single sample; give two classes or seeds, or more")
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in FREE} | more
        where = {"model": self.called, "data": self.photographs.root, "device": str(self.where)}
        out = None if self.out is None else Path(self.out).expanduser()
        return Table({"what": what, **where, "settings": plain(given)}, out)

    @property
    def called(self) -> str:
        """The name of the model."""
        name = self.model.name or self.model.card.get("name") if isinstance(self.model, PPGN) else self.model
        return str(name)

    @cached_property
    def photographs(self) -> Photographs:
        """Those of the folder."""
        return Photographs.find(self.data)

    @cached_property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds as numbers."""
        return arguments.seeds(self.seeds)

    @cached_property
    def where(self) -> torch.device:
        """The device."""
        return arguments.device(self.device)

    def load(self, model: Any = None, *, encoder: bool = False) -> PPGN:
        """The model, or another one. Raises `InputError` for one that draws no RGB pictures, or lacks an `encoder`."""
        found = ppgn.model.load(self.model if model is None else model, self.where, self.trust)
        shape = tuple(cast(Generator, found.generator).signal_shape)
        if len(shape) != 3 or shape[0] != 3:
            raise InputError(f"model: it draws signals of the shape {shape}; only RGB pictures (3, H, W) can be judged")
        if encoder and found.encoder is None:
            raise InputError(f"model {self.called} has no encoder, which this needs; give another model")
        return found

    def conditions(self, targets: Sequence[str | int | None], **settings: Any) -> Sequence[Condition]:
        """The condition of every target."""
        return words.conditions(self.condition, targets, settings=settings, device=self.where, dtype=torch.float32)

    def source(self, model: PPGN, conditions: Sequence[Condition] = (), **more: Any) -> Source:
        """Chains for conditions as these arguments have them, or as `more` has them."""
        given = {"sampler": self.sampler, "prior": self.prior, "steps": self.steps, "batch_size": self.batch_size}
        given |= {"reduce_to": self.reduce_to}
        return Source.of(model, seeds=self.seed_list, conditions=conditions, **given | more)

    def side(self, model: PPGN) -> int:
        """At what size the model's pictures are judged."""
        return side_of(model, self.reduce_to)

    def spread(self, count: int, model: PPGN) -> Tensor:
        """So many photographs, uint8 (count, 3, S, S), as large as the model's pictures when they are judged."""
        return self.photographs.spread(count, self.side(model))

    def features(self) -> fidelity.Features:
        """What pictures are compared by."""
        return fidelity.Features(self.batch_size).to(self.where)

    def classifier(self, judge: Any) -> accuracy.Judge:
        """A judge by the name of an ImageNet classifier, "module:Class", a mapping, or the module itself."""
        if isinstance(judge, accuracy.Judge):
            return judge.to(self.where)
        return accuracy.Judge.of(judge, self.batch_size).to(self.where)
