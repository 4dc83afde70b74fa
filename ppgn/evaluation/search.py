"""Searches for what units inside a network respond to, no gradient used, beside chains that use one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppgn import folders, paths
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, check_known
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.kept import kept
from ppgn.evaluation.sources import Drawn, bar, grid
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.evaluation.units import QUANTILE, activations, pick
from ppgn.model import PPGN
from ppgn.photographs import square
from ppgn.search.searching import Search

SYSTEMS = ("natural", "cmaes", "genetic", "random", "gradient")
FIGURES = ("activation", "kid", "reached", "evaluations", "length", "seconds")
PRECISIONS = ("float32", "bfloat16")


@folders.results(*FILES)
def search(
    model: Any = "natural64",
    layers: Sequence[str] = ("blocks.4", "blocks.6", "classifier"),  # of the condition's network
    data: Any = None,
    *,
    count: int = 50,  # units, picked at random, the same every time
    condition: Any = "unit",  # the network that they are units of; its layer, target and score are set here
    systems: Sequence[str] = SYSTEMS,  # search samplers; gradient is a chain of `sampler` that is given the gradient
    generations: int = 50,  # of each search
    population: int = 40,  # pictures of a generation
    sigma: float = 1.0,  # standard deviation of codes, by and large
    precision: str = "float32",  # of drawing and scoring in a search; bfloat16 takes half the time on many CPUs
    seeds: Any = "0",  # of the first unit; they go on counting from unit to unit
    **options: Any,  # the fields of Task
) -> Table:
    """Searches for random units beside chains, each unit's best photograph at 1 and its mean over n photographs at 0.

    Rows have the "activation" of the best picture found on this scale; "kid" of these pictures, one a unit; "reached",
    the share of units that came to the 99th percentile of photographs, and after how many "evaluations" (all of them
    where none did); "length", that of codes over √D. The pictures found are measured in float32. In `out`, drawn/ keeps
    every search: the same settings, with overwrite=true where there is a table already, go on from there. Intervals are
    over units. Raises `InputError`.
    """
    task = Task(model=model, data=data, condition=condition, seeds=seeds, **options)
    for name in systems:
        check_known("system", name, (*paths.options("search"), "gradient"))
    check_known("precision", precision, PRECISIONS)
    more: dict[str, Any] = {"generations": generations, "population": population, "sigma": sigma}
    more["precision"] = precision
    table, drawer = task.begin("search", layers=layers, count=count, systems=systems, **more), task.load()
    if len(task.seed_list) != 1:
        raise InputError(f"seeds={seeds}: a search of each unit has one seed; give that of the first")
    first: dict[str, Any] = {layer: task.conditions([0], layer=layer, score="activation")[0] for layer in layers}
    picked = pick({layer: unit.network.classes for layer, unit in first.items()}, count)
    asked: list[Unit] = [first[layer].with_target(number).eval() for layer, number in picked]
    names = [f"{layer} {number}" for layer, number in picked]
    photographs = task.spread(task.n, drawer)
    real = activations(asked, photographs, task.batch_size)
    zero, one, limit = real.mean(0), real.amax(0), real.quantile(QUANTILE, dim=0)
    panel = Panel(asked, lambda *_: {}, task.features(), photographs)

    def add(name: str, drawn: Drawn, values: dict[str, Tensor]) -> None:
        found = activations(asked, drawn.pictures, task.batch_size).diagonal()
        values = {"activation": (found - zero) / (one - zero), **values}
        facts = [
            {"unit": unit, **{key: float(column[row]) for key, column in values.items()}}
            for row, unit in enumerate(names)
        ]
        captions = [f"{unit}\n{row['activation']:.2f}" for unit, row in zip(names, facts, strict=True)]
        figures = panel.figures(drawn, [key for key in FIGURES if key == "kid" or key in values], values)
        table.add(name, figures, {f"grid_{name}": grid(drawn, captions)}, units=facts)

    for name in systems:
        if name == "gradient":
            soft: dict[str, Any] = {layer: task.conditions([0], layer=layer)[0] for layer in layers}
            wanted = [soft[layer].with_target(number).eval() for layer, number in picked]
            drawn = task.source(drawer, wanted, own_seeds=True).draw(wanted, name, task.progress)
            add(name, drawn, {})
            continue
        searches = Searches(task, table, drawer, **more)
        add(name, *searches.all(asked, name, limit))
    add("photographs", Drawn(photographs[real.argmax(0)], torch.arange(count)), {})
    return table


@dataclass(frozen=True)
class Searches:
    """Searches for units, each of which is kept in the table's folder."""

    task: Task
    table: Table
    model: PPGN
    generations: int
    population: int
    sigma: float
    precision: str

    def all(self, units: Sequence[Unit], method: str, limit: Tensor) -> tuple[Drawn, dict[str, Tensor]]:
        """The best picture of each unit's search; whether and when it `reached` its limit, (C,), and codes' length."""
        pictures, seeds = [], [self.task.seed_list[0] + number for number in range(len(units))]
        values = torch.zeros(3, len(units), dtype=torch.float64)
        with bar(self.task.progress, self.generations * len(units), method, "gen") as steps:
            for number, (unit, seed) in enumerate(zip(units, seeds, strict=True)):
                found = self.one(unit, method, seed, steps)
                over = (found["scores"].flatten() > limit[number]).nonzero()
                values[0, number] = bool(len(over))
                values[1, number] = int(over[0]) + 1 if len(over) else self.generations * self.population
                values[2, number] = found["code"].square().mean().sqrt()
                pictures.append(square(found["picture"], self.task.side(self.model)))
        drawn = Drawn(torch.cat(pictures), torch.arange(len(units)), tuple(seeds))
        return drawn, dict(zip(("reached", "evaluations", "length"), values, strict=True))

    def one(self, unit: Unit, method: str, seed: int, steps: Any) -> dict[str, Tensor]:
        """A search's best "picture", uint8 (1, 3, H, W), its "code" and all "scores", (generations, population)."""
        task = self.task
        where: dict[str, Any] = {"batch_size": task.batch_size, "device": task.where}
        under_way = Search(self.model, method, self.population, seed, sigma=self.sigma, prior=task.prior, **where)

        def walk() -> dict[str, Tensor]:
            half = torch.autocast(task.where.type, torch.bfloat16, enabled=self.precision == "bfloat16")
            while under_way.generation < self.generations:
                with torch.no_grad(), half:
                    shown = under_way.ask()[1]
                    said = torch.cat([unit(part) for part in shown.split(task.batch_size)])
                under_way.tell(said)
                steps.update()
            code = under_way.best()[0]
            picture = (under_way.draw(code) * 255).round().to(torch.uint8).cpu()
            return {"picture": picture, "code": code[0], "scores": under_way.scores[..., 0]}

        by = {"search": under_way.settings, "condition": self.table.about["settings"]["condition"], "unit": unit.index}
        by |= {"layer": unit.layer, "generations": self.generations, "precision": self.precision}
        return kept(self.table.out, f"{method}-{unit.layer}-{unit.index}", by, walk)
