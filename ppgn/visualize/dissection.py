"""Network Dissection: which concepts the units of a layer stand for, and whether more than chance says so."""

from __future__ import annotations

import csv
import io
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ppgn import arguments, files, folders, paths
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.networks import own
from ppgn.networks.layout import Layout
from ppgn.networks.network import Network
from ppgn.visualize import charts, intervention, receptive_field
from ppgn.visualize.concepts import LEAST, Concepts
from ppgn.visualize.overlap import IOU, SHARE, Overlap, best_of, counted, linear, overlap, rotation
from ppgn.visualize.pictures import dimmed
from ppgn.visualize.rectifiers import uncapped

SHOWN, TOP = 12, 9  # units in top.png, and pictures of each
FILES = ("units.csv", "report.json", "config.yaml", "top.png", "concepts.png", "tests.png")
WARNING = "its output is linear: no unit is a preferred axis; dissect a layer behind a rectifier"


@folders.results(*FILES, *intervention.FILES)
def dissect(
    # -- what to dissect, with which pictures --
    layer: str,  # one that `ppgn units` lists, with places
    data: Any,  # a pack of pictures with named pixels: a folder with index.csv, concepts.csv and sheets
    *,
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME, file.py:NAME, FILE.pt2
    network: Any = "efficientnet_lite1",
    size: int | None = None,  # side of its input in pixels; null: what suits the network
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    count: int | None = None,  # pictures, at random; null is all
    # -- of a generator --
    model: Any = None,  # dissect the generator of a model instead, by what a segmenter sees in its drawings
    intervene: Any = None,  # concepts whose units are taken out and put in, as tree or [sky,tree]
    drawings: int = 1000,  # of the codes of the pack's pictures that the segmenter was not fitted on, at most
    removed: int = 20,  # units that are taken out
    concepts: int = 14,  # the commonest objects, which the segmenter knows
    segmenter: Any = "efficientnet_lite2",  # the network whose features it is fitted on
    # -- what counts --
    side: int = 32,  # pixels of a side at which masks and labels are compared
    permutations: int = 100,  # of the labels, which say what chance gives
    least: Mapping[str, int] | None = None,  # pictures that a concept needs: least.object=30, colour, scene, texture
    seed: int = 0,  # of the rotation and the permutations
    # -- on which machine --
    batch_size: int = 32,
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Dissection | intervention.Interventions:
    """Name the units of a layer by the concepts whose pixels they light up at -> `Dissection`.

    A unit is a detector where its IoU with a concept is above 0.04 and above the 99th percentile of its own best IoU
    with permuted labels. The whole is repeated with the units rotated at random. Concepts with too few pictures are
    left out. With `model` the layer is its generator's, and the result what `ppgn.visualize.intervention.generator`
    gives.

    Raises `InputError` for what cannot be used, a layer without places, and where no concept has enough pictures.
    Source: Bau et al. 2017 (arXiv 1704.05796); both tests in the same report are ours.
    """
    _check(locals())
    if model is not None:
        options = {"model": model, "segmenter": segmenter, "concepts": concepts, "drawings": drawings, "count": count}
        options |= {"removed": removed, "side": side, "seed": seed, "batch_size": batch_size}
        options |= {"permutations": permutations}
        return intervention.generator(layer, data, intervene, **options, progress=progress, out=out)
    where, bar = arguments.device(device), partial(tqdm, disable=not progress)
    net = uncapped(own.load(network, size, weights), layer).to(where)
    grid = receptive_field.grid(net, layer)
    if grid.height * grid.width < 2:
        raise InputError(f"layer '{layer}' of {net.name} has no places; give one with a grid, as ppgn units lists them")
    pack = Concepts.find(data, None if count is None else arguments.whole("count", count), side=side, seed=seed)
    need = LEAST | dict(least or {})
    counts = _counts(pack, need)
    with tempfile.TemporaryDirectory(prefix="ppgn-") as scratch:
        activations = _activations(net, layer, grid, pack, batch_size, f"{scratch}/activations", bar)
        axes = not linear(activations[:: max(1, len(pack) // 256)])
        if not axes:
            print(f"ppgn: layer '{layer}' of {net.name}: {WARNING}", file=sys.stderr)
        compare = partial(overlap, activations, pack, counts, permutations=permutations, seed=seed)
        found = compare(progress=partial(bar, desc="as it is"))
        rotated = compare(turn=rotation(grid.units, seed), progress=partial(bar, desc="rotated"))
        tops = _tops(activations, pack, found)
    config = {"layer": layer, "data": pack.root, "network": net.name, "pictures": len(pack), "side": side}
    config |= {"permutations": permutations, "least": need, "seed": seed}
    return Dissection(folders.of(out), config, pack.names, pack.categories, counts, found, rotated, axes, tops)


def _check(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for numbers that cannot be used, and for an intervention in what draws nothing."""
    for name in ("side", "permutations", "batch_size", "drawings", "removed", "concepts"):
        arguments.whole(name, given[name])
    arguments.whole("seed", given["seed"], 0)
    for name, number in (given["least"] or {}).items():
        if name not in LEAST:
            raise InputError(f"least.{name}: unknown category; expected one of {', '.join(LEAST)}")
        arguments.whole(f"least.{name}", number, 0)
    if given["model"] is None and given["intervene"] is not None:
        raise InputError(f"intervene={given['intervene']} is for a generator; give its model=natural64 too")


def _counts(pack: Concepts, need: Mapping[str, int]) -> Tensor:
    """Which concepts have as many pictures as their category needs. Raises `InputError` where none has."""
    counts = counted(pack, dict(need))
    if not counts.any():
        said = ", ".join(f"{name} {number}" for name, number in need.items())
        raise InputError(f"{len(pack)} pictures: no concept has enough ({said}); give more, or a smaller least")
    return counts


def _activations(
    net: Network, layer: str, grid: Layout, pack: Concepts, batch_size: int, file: str, bar: Callable[..., Any]
) -> Tensor:
    """What all units say of all pictures, (N, C, h, w), kept in a file instead of in memory."""
    shape = (len(pack), grid.units, grid.height, grid.width)
    found = torch.from_file(file, shared=True, size=math.prod(shape)).view(shape)
    for start in bar(range(0, len(pack), batch_size), desc="pictures"):
        x = pack.pictures[start : start + batch_size].to(net.preprocessing.gain.device) / 255
        with torch.no_grad():
            values = receptive_field.maps(net, layer, x, grid)
        found[start : start + batch_size].copy_(values.transpose(1, 2).unflatten(2, shape[2:]))
    return found


def _tops(activations: Tensor, concepts: Concepts, found: Overlap) -> dict[int, Tensor]:
    """Of the best detectors the pictures that excite them most, dimmed outside the mask, uint8 (TOP, 3, S, S)."""
    order = torch.where(found.detectors, found.best, found.best - 1).argsort(descending=True)[:SHOWN].tolist()
    tops = {}
    for unit in order:
        rows = activations[:, unit].flatten(1).amax(1).topk(min(TOP, len(concepts))).indices
        pictures = concepts.pictures[rows].float() / 255
        plane = F.interpolate(activations[rows, unit][:, None], pictures.shape[-2:], mode="bilinear")
        tops[unit] = images.to_uint8(dimmed(pictures, plane > found.thresholds[unit]))
    return tops


@dataclass(frozen=True, repr=False)
class Dissection(folders.Results):
    """Units of a layer and the concepts they stand for; `save` writes units.csv, charts, top.png and report.json.

    `found` is the overlap of units and concepts, `rotated` that of a random rotation of the units; `counts` says which
    concepts were counted; `axes` whether the layer has preferred axes, behind a rectifier.
    """

    files = FILES

    names: Sequence[str]
    categories: Sequence[str]
    counts: Tensor
    found: Overlap
    rotated: Overlap
    axes: bool
    tops: Mapping[int, Tensor]

    def __len__(self) -> int:
        return len(self.found.thresholds)

    def __repr__(self) -> str:
        said = self.found.counts()
        beyond, unique = said["detectors_beyond_chance"], said["unique_beyond_chance"]
        return f"Dissection({self.config['layer']}: {beyond} of {len(self)} units are detectors, {unique} concepts)"

    def rows(self) -> list[dict[str, Any]]:
        """A row of units.csv for every unit: its concept, the second, its chance, and the best of each category."""
        two, each = self.found.iou.topk(2), best_of(self.found, self.categories)
        chance, detectors, rows = self.found.chance.tolist(), self.found.detectors.tolist(), []
        for unit in range(len(self)):
            (first, second), (best, next_best) = two.indices[unit].tolist(), two.values[unit].tolist()
            row = {"unit": unit, "label": self.names[first], "category": self.categories[first], "iou": best}
            row |= {"threshold": float(self.found.thresholds[unit]), "chance": chance[unit]}
            row |= {"detector": detectors[unit], "second": self.names[second], "second_iou": next_best}
            for name, (values, places) in each.items():
                row |= {name: self.names[int(places[unit])], f"{name}_iou": max(float(values[unit]), 0.0)}
            rows.append(row)
        return rows

    def by_category(self) -> dict[str, dict[str, int]]:
        """Of every category the concepts counted, the detectors beyond chance and the unique concepts of these."""
        chosen, said = self.found.labels[self.found.detectors].tolist(), {}
        for name in LEAST:
            own = [label for label in chosen if self.categories[label] == name]
            count = sum(bool(c) and kind == name for c, kind in zip(self.counts, self.categories, strict=True))
            said[name] = {"concepts": count, "detectors": len(own), "unique": len(set(own))}
        return said

    def report(self) -> dict[str, Any]:
        """What report.json says: counts as it is, rotated and by chance, and by category."""
        said: dict[str, Any] = {**self.config, "versions": files.versions(), "units": len(self), "iou": IOU}
        said |= {"share": SHARE, "preferred_axes": self.axes} | ({} if self.axes else {"warning": WARNING})
        said |= {"as_it_is": self.found.counts(), "rotated": self.rotated.counts()}
        return said | {"categories": self.by_category()}

    def write(self, place: Path) -> None:
        """Write units.csv, top.png and the charts."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
        paths.write(place / "units.csv", text.getvalue())
        images.write(place / "top.png", self.grid())
        for name, chart in self.charts().items():
            paths.write(place / f"{name}.png", chart)

    def grid(self) -> Image.Image:
        """A row per unit, the best detectors first: the pictures that excite it most, dimmed outside its mask."""
        texts = []
        for unit, pictures in self.tops.items():
            label = int(self.found.labels[unit])
            said = f"unit {unit}: {self.names[label]}\n{self.categories[label]}, IoU {float(self.found.best[unit]):.2f}"
            texts += [said if self.found.detectors[unit] else f"{said}, chance"] + [""] * (len(pictures) - 1)
        rows = torch.cat(list(self.tops.values()))
        return images.grid(rows, columns=len(rows) // len(self.tops), captions=texts)

    def charts(self) -> dict[str, bytes]:
        """PNG files: "concepts", detectors of each concept by category, and "tests". Needs matplotlib."""
        return {"concepts": self._chart_of_concepts(), "tests": self._chart_of_tests()}

    def _chart_of_concepts(self) -> bytes:
        labels = self.found.labels[self.found.detectors].bincount(minlength=len(self.names)).tolist()
        order = [(name, [i for i in range(len(labels)) if labels[i] and self.categories[i] == name]) for name in LEAST]
        bars = sum(len(of_it) for _, of_it in order)
        chart = charts.figure(max(4, 0.16 * bars + 2), 4)
        axis, start = chart.add_subplot(), 0
        ticks: list[str] = []
        for name, of_it in filter(lambda each: each[1], order):
            highest = sorted(of_it, key=lambda concept: -labels[concept])
            axis.bar(range(start, start + len(of_it)), [labels[i] for i in highest], label=f"{name} ({len(of_it)})")
            ticks += [self.names[i] for i in highest]
            start += len(of_it)
        axis.set_xticks(range(bars), ticks, rotation=90, fontsize=7)
        axis.set(ylabel="units beyond chance", title=f"{self.config['network']} {self.config['layer']}")
        if bars:
            axis.legend(frameon=False)
        return charts.png(chart)

    def _chart_of_tests(self) -> bytes:
        chart = charts.figure(5, 3.5)
        axis, keys = chart.add_subplot(), ("detectors", "detectors_permuted", "detectors_beyond_chance")
        for place, (name, found) in enumerate((("as it is", self.found), ("rotated", self.rotated))):
            said = found.counts()
            axis.bar([x + 0.4 * place - 0.2 for x in range(3)], [said[key] for key in keys], 0.4, label=name)
        axis.set_xticks(range(3), [f"IoU > {IOU}", "the same,\nlabels permuted", "beyond their\nown chance"])
        axis.set_ylabel(f"units of {len(self)}")
        axis.legend(frameon=False)
        return charts.png(chart)
