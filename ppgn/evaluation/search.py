"""Searches for what units inside a network respond to, no gradient used, beside chains that use one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppgn import building, paths
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, unknown
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.sources import Drawn, bar, grid, side_of
from ppgn.evaluation.table import Table
from ppgn.evaluation.task import Task
from ppgn.evaluation.units import QUANTILE, activations, pick
from ppgn.model import PPGN
from ppgn.photographs import square
from ppgn.search.searching import Search

SYSTEMS = ("natural", "cmaes", "genetic", "random", "gradient")
FIGURES = ("activation", "kid", "reached", "evaluations", "length", "seconds")


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
    sigma: float = 1.0,  # standard deviation of the first codes
    seeds: Any = "0",  # of the first unit; they go on counting from unit to unit
    **options: Any,  # the fields of Task
) -> Table:
    """Searches for random units beside chains, each unit's best photograph at 1 and its mean over n photographs at 0.

    Rows have the "activation" of the best picture found on this scale; "kid" of these pictures, one a unit; "reached",
    the share of units that came to the 99th percentile of photographs, and after how many "evaluations" (all of them
    where none did); "length", that of codes over √D. Intervals are over units. Raises `InputError`.
    """
    task = Task(model=model, data=data, condition=condition, seeds=seeds, **options)
    for name in systems:
        if name not in (*paths.options("search"), "gradient"):
            raise unknown("system", name, (*paths.options("search"), "gradient"))
    more = {"generations": generations, "population": population, "sigma": sigma}
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
        captions = [f"{unit} {row['activation']:.2f}" for unit, row in zip(names, facts, strict=True)]
        figures = panel.figures(drawn, [key for key in FIGURES if key == "kid" or key in values], values)
        table.add(name, figures, {f"grid_{name}": grid(drawn, captions)}, units=facts)

    for name in systems:
        if name == "gradient":
            soft: dict[str, Any] = {layer: task.conditions([0], layer=layer)[0] for layer in layers}
            wanted = [soft[layer].with_target(number).eval() for layer, number in picked]
            drawn = task.source(drawer, wanted, own_seeds=True).draw(wanted, name, task.progress)
            add(name, drawn, {})
            continue
        drawn, values = _search(task, drawer, asked, name, more, limit)
        add(name, drawn, values)
    add("photographs", Drawn(photographs[real.argmax(0)], torch.arange(count)), {})
    return table


def _search(
    task: Task, model: PPGN, units: Sequence[Unit], method: str, given: dict[str, Any], limit: Tensor
) -> tuple[Drawn, dict[str, Tensor]]:
    """The best picture of each unit's search; whether and when it `reached` its limit, (C,), and codes' length."""
    generations, population, sigma = given["generations"], given["population"], given["sigma"]
    pictures, seeds = [], [task.seed_list[0] + number for number in range(len(units))]
    values = torch.zeros(3, len(units), dtype=torch.float64)
    with bar(task.progress, generations * len(units), method, "gen") as steps:
        for number, (unit, seed) in enumerate(zip(units, seeds, strict=True)):
            sampler = building.part("search", method)
            under_way = Search(
                model,
                sampler,
                population,
                seed,
                sigma=sigma,
                prior=task.prior,
                batch_size=task.batch_size,
                device=task.where,
            )
            for _ in range(generations):
                shown = under_way.ask()[1]
                with torch.no_grad():
                    said = [unit(part) for part in shown.split(task.batch_size)]
                under_way.tell(torch.cat(said))
                steps.update()
            over = (under_way.scores.flatten() > limit[number]).nonzero()
            values[0, number] = bool(len(over))
            values[1, number] = int(over[0]) + 1 if len(over) else generations * population
            code = under_way.best()[0]
            values[2, number] = code.square().mean().sqrt()
            pictures.append(square((under_way.draw(code) * 255).round().to(torch.uint8).cpu(), side_of(model)))
    drawn = Drawn(torch.cat(pictures), torch.arange(len(units)), tuple(seeds))
    return drawn, dict(zip(("reached", "evaluations", "length"), values, strict=True))
