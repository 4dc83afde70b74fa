"""`what=units`: samples of units inside a network, beside what photographs do to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ppgn.cli import config as configs
from ppgn.cli.evaluation.chains import Chains, Row, compare, publish
from ppgn.cli.evaluation.data import side_of
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.sample import build_conditions
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError

QUANTILE = 0.99  # of a unit's activation on photographs


def pick(layers: Mapping[str, int], count: int) -> list[tuple[str, int]]:
    """`count` different units (layer, number) at random, the same every time, evenly from `layers` of so many units.

    Raises `InputError` where a layer has too few.
    """
    random = np.random.default_rng(0)
    picked: list[tuple[str, int]] = []
    for part, (layer, units) in zip(np.array_split(np.arange(count), len(layers)), layers.items(), strict=True):
        if len(part) > units:
            raise InputError(f"layer '{layer}' has {units} units, not {len(part)}; give a smaller count or more layers")
        picked += [(layer, int(number)) for number in np.sort(random.choice(units, len(part), replace=False))]
    return picked


def judge_units(
    chains: Chains, conditions: Sequence[Unit], photographs: Tensor, others: Tensor, batch_size: int = 50
) -> Iterator[Row]:
    """Rows of samples, gradient ascent on pixels, start codes and `others`, uint8 (C, 3, S, S), a photograph a unit.

    "above" is the share whose activation exceeds the 99th percentile of the unit's on `photographs` (N, 3, S, S); "sd"
    how many standard deviations of these it is above their mean.
    """
    real = activations(conditions, photographs, batch_size)
    limits, centre, spread = real.quantile(QUANTILE, dim=0), real.mean(0), real.std(0)

    def judge(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        own = activations(conditions, pictures, batch_size).gather(1, targets[:, None])[:, 0]
        return {"above": (own > limits[targets]).double(), "sd": (own - centre[targets]) / spread[targets]}

    sources = {
        "samples": lambda: chains.draw(conditions),
        "pixels": lambda: chains.on_pixels().draw(conditions),
        "white_noise": lambda: chains.start(len(conditions)),
        "photographs": lambda: (others, torch.arange(len(conditions))),
    }
    return compare(conditions, sources, judge)


@torch.no_grad()
def activations(conditions: Sequence[Unit], pictures: Tensor, batch_size: int = 50) -> Tensor:
    """What every unit gives for uint8 pictures (N, 3, H, W), (N, C) float64; one pass for all units of a layer."""
    found = torch.empty(len(pictures), len(conditions), dtype=torch.float64)
    for layer in dict.fromkeys(unit.layer for unit in conditions):
        columns = [number for number, unit in enumerate(conditions) if unit.layer == layer]
        first, index = conditions[columns[0]], [conditions[number].index for number in columns]
        gain = first.network.preprocessing.gain
        parts = [first.activations(batch.to(gain) / 255)[:, index].cpu() for batch in pictures.split(batch_size)]
        found[:, columns] = torch.cat(parts).double()
    return found


def units(request: Request, report: Report) -> None:
    """Samples of random units beside pixels optimised, start codes and photographs. Intervals are over units."""
    model = request.load_model()
    of_layers = {str(layer): _of_layer(request, str(layer), [0])[0] for layer in request.config.layers}
    count = configs.whole(request.config, "count", least=2)
    picked = pick({layer: unit.network.classes for layer, unit in of_layers.items()}, count)
    conditions = [
        unit for layer in of_layers for unit in _of_layer(request, layer, [n for name, n in picked if name == layer])
    ]
    every = request.data.spread(request.n + len(picked), side_of(model))
    apart = torch.zeros(len(every), dtype=torch.bool)
    apart[np.linspace(0, len(every) - 1, len(picked)).astype(int)] = True
    with request.progress(0, "step") as bar:
        chains = Chains.of(request, model, bar.update)
        bar.total = 2 * chains.total(len(conditions))
        rows = judge_units(chains, conditions, every[~apart], every[apart], request.batch_size)
        names = [f"{layer} {number}" for layer, number in picked]
        publish(request, report, chains, names, rows, photographs=request.n)


def _of_layer(request: Request, layer: str, numbers: Sequence[int]) -> list[Unit]:
    config = cast(DictConfig, OmegaConf.merge(request.config.condition, {"layer": layer}))
    built: Any = build_conditions(config, numbers, request.device, torch.float32)
    return list(built)
