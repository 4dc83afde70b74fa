"""What all evaluations are given: checked, loaded, and the table that they fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

import ppgn.model
from ppgn.cli.config import seeds as seeds_of
from ppgn.cli.sample import read_device as device_of
from ppgn.conditions import words
from ppgn.contracts import Condition, Generator
from ppgn.errors import InputError
from ppgn.evaluation.sources import Source, side_of
from ppgn.evaluation.table import Table
from ppgn.metrics import fidelity
from ppgn.model import PPGN
from ppgn.photographs import Photographs


@dataclass(frozen=True)
class Task:
    """The arguments of an evaluation."""

    given: Mapping[str, Any]
    photographs: Photographs
    device: torch.device
    seeds: tuple[int, ...]
    table: Table

    @staticmethod
    def of(what: str, given: Mapping[str, Any]) -> Task:
        """Check what was `given`, by name. Raises `InputError`; nothing big is loaded before."""
        for name, least in (("n", 2), ("count", 2), ("steps", 1), ("batch_size", 1)):
            value = given.get(name)
            if name in given and (name, value) != ("steps", None) and (type(value) is not int or value < least):
                raise InputError(f"{name}={value} cannot be used; expected a whole number from {least} on")
        if given["data"] is None:
            raise InputError("data is missing: give data=FOLDER, with photographs in it")
        for name in ("classes", "layers", "systems", "experiments"):
            check_names(name, given.get(name, ("any",)))
        seeds = seeds_of(list(s) if isinstance(s := given.get("seeds", 0), range) else s)
        if "classes" in given and len(given["classes"]) * len(seeds) < 2:
            raise InputError("classes and seeds make a single sample; give two classes or seeds, or more")
        found, device = Photographs.find(given["data"]), device_of(given["device"])
        table = Table.of(what, given, model=name_of(given["model"]), data=found.root, device=device)
        return Task(given, found, device, seeds, table)

    def model(self, name: str | PPGN | None = None) -> PPGN:
        """The model, or another one by `name`. Raises `InputError` for one that draws no RGB pictures."""
        asked = self.given["model"] if name is None else name
        found = asked.to(self.device) if isinstance(asked, PPGN) else ppgn.model.load(asked, self.device)
        shape = tuple(cast(Generator, found.generator).signal_shape)
        if len(shape) != 3 or shape[0] != 3:
            raise InputError(f"model: it draws signals of the shape {shape}; only RGB pictures (3, H, W) can be judged")
        return found

    def conditions(self, targets: Sequence[str | int], gradient: str = "full", **settings: Any) -> list[Condition]:
        """The condition asked for, one for every target."""
        place: dict[str, Any] = {"device": self.device, "dtype": torch.float32}
        return words.conditions(self.given["condition"], targets, settings=settings, gradient=gradient, **place)

    def source(self, model: PPGN, **more: Any) -> Source:
        """Chains of the sampler and prior asked for."""
        given = {
            "seeds": self.seeds,
            **{name: self.given.get(name) for name in ("sampler", "prior", "steps", "batch_size")},
        }
        return Source.of(model, **given | more)

    def features(self) -> Callable[[Tensor], Tensor]:
        """What pictures are compared by."""
        return fidelity.Features(self.given["batch_size"]).to(self.device)

    def spread(self, count: int, model: PPGN) -> Tensor:
        """So many photographs, as large as the model's pictures are when they are judged."""
        return self.photographs.spread(count, side_of(model))


def name_of(model: Any) -> str:
    """What a model is called."""
    return str(model.card.get("name", "unnamed")) if isinstance(model, PPGN) else str(model)


def check_names(name: str, values: Any) -> None:
    """Raise `InputError` unless an argument lists one name or more, each once."""
    if isinstance(values, str) or not values or len(set(values)) < len(values):
        listed = values if isinstance(values, str) else ",".join(map(str, values))
        raise InputError(f"{name}=[{listed}]: expected one name or more, each once")
