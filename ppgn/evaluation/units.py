"""Samples of units inside a network, beside what photographs do to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn import folders
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.metrics.look import look

QUANTILE = 0.99  # of a unit's activation on photographs


@folders.results(*FILES)
def units(
    model: Any = "natural64",
    layers: Sequence[str] = ("blocks.2", "blocks.4", "blocks.6"),  # of the condition's network
    data: Any = None,
    *,
    count: int = 50,  # units, picked at random, the same every time
    condition: Any = "unit",  # the network that they are units of; its layer and target are set here
    seeds: Any = "0",  # the chains of the first unit; they go on counting from unit to unit
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of random units beside gradient ascent on pixels, start codes, and a photograph for each unit.

    Rows have the condition's log p; "above", the share whose activation exceeds the 99th percentile of the unit's on n
    other photographs; "sd", its standard deviations above their mean. Intervals are over units. Raises `InputError`.
    """
    task = Task(model=model, data=data, condition=condition, seeds=seeds, **options)
    table, drawer = task.begin("units", layers=layers, count=count), task.load()
    first: dict[str, Any] = {layer: task.conditions([0], layer=layer)[0] for layer in layers}
    picked = pick({layer: unit.network.classes for layer, unit in first.items()}, count)
    asked = [first[layer].with_target(number).eval() for layer, number in picked]
    every = task.spread(task.n + count, drawer)
    apart = torch.zeros(len(every), dtype=torch.bool)
    apart[np.linspace(0, len(every) - 1, count).astype(int)] = True
    photographs, names = Drawn(every[apart], torch.arange(count)), [f"{layer} {number}" for layer, number in picked]
    chains = task.source(drawer, asked, own_seeds=True)
    panel = Panel(asked, percentiles(asked, every[~apart], task.batch_size))
    sources = {"samples": chains, "pixels": chains.on_pixels()}
    return panel.compare(table, sources, names, photographs, task.progress, photographs=task.n)


def pick(layers: Mapping[str, int], count: int) -> list[tuple[str, int]]:
    """`count` random units (layer, number), always the same, evenly from `layers`. Raises `InputError` for too few."""
    random = np.random.default_rng(0)
    picked: list[tuple[str, int]] = []
    for part, (layer, units) in zip(np.array_split(np.arange(count), len(layers)), layers.items(), strict=True):
        if len(part) > units:
            raise InputError(f"layer '{layer}' has {units} units, not {len(part)}; give a smaller count or more layers")
        picked += [(layer, int(number)) for number in np.sort(random.choice(units, len(part), replace=False))]
    return picked


def percentiles(
    conditions: Sequence[Unit], photographs: Tensor, batch_size: int = 50
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A judge of pictures by the activation of the unit asked for, beside that on `photographs` (N, 3, S, S)."""
    real = activations(conditions, photographs, batch_size)
    limits, centre, spread = real.quantile(QUANTILE, dim=0), real.mean(0), real.std(0)

    def judge(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        own = activations(conditions, pictures, batch_size).gather(1, targets[:, None])[:, 0]
        return {"above": (own > limits[targets]).double(), "sd": (own - centre[targets]) / spread[targets]}

    return judge


def activations(conditions: Sequence[Unit], pictures: Tensor, batch_size: int = 50) -> Tensor:
    """What every unit gives for uint8 pictures (N, 3, H, W), (N, C) float64; one pass for all units of a layer."""
    found = torch.empty(len(pictures), len(conditions), dtype=torch.float64)
    for layer in dict.fromkeys(unit.layer for unit in conditions):
        columns = [number for number, unit in enumerate(conditions) if unit.layer == layer]
        first, index = conditions[columns[0]], [conditions[number].index for number in columns]
        seen = look(first.activations, pictures, first.network.preprocessing.gain, batch_size)
        found[:, columns] = seen[:, index].double()
    return found
