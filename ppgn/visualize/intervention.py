"""Units of a generator: which concepts they draw, and what a picture loses without them or gains with more of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import ppgn.model
from ppgn import arguments, files, folders, paths
from ppgn.contracts import Generator
from ppgn.errors import InputError, check_known
from ppgn.media import images
from ppgn.networks import own
from ppgn.photographs import square
from ppgn.visualize import charts
from ppgn.visualize.concepts import Concepts
from ppgn.visualize.overlap import Overlap, overlap
from ppgn.visualize.scene import Scene, causal, insertion, interval, layer_of, spots_of, without
from ppgn.visualize.segmentation import LAYERS, commonest, fit, reduced

SHARE = 0.01  # of all places at which a unit exceeds its threshold
SEEN = 128  # pixels of a side that the segmenter's network sees
GOOD = 0.25  # mean IoU that a segmenter needs to be believed
COUNTS = (1, 2, 5, 10, 20, 30)  # units that the curve removes
MOST = 400  # drawings on which units are chosen, others than those that are measured
FEW = 200  # of those measured, for the curve
RANDOM = 3  # sets of random units beside them
LEARNT = 96  # drawings that the causal effect is learnt from
SHOWN = 8  # pictures in edits.png
FILES = ("units.csv", "report.json", "config.yaml", "curve.png", "edits.png")


def generator(
    layer: str,
    data: Any,
    wanted: Any,
    *,
    model: Any = "natural64",
    segmenter: Any = "efficientnet_lite2",
    concepts: int = 14,
    drawings: int = 1000,
    removed: int = 20,
    count: int | None = None,
    side: int = 32,
    permutations: int = 100,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool = False,
    out: Any = None,
) -> Interventions:
    """Units of a generator's layer, by what a segmenter sees in its drawings, and drawings without them.

    Drawings are those of the codes of the pack's pictures that the segmenter was not fitted on. Of each concept
    `wanted` the `removed` units of highest IoU, and those of highest causal effect, both by other drawings than those
    that are measured, are set to zero, beside as many random ones.

    Raises `InputError` for what cannot be used, and for a segmenter whose mean IoU is below 0.25.
    Source: GAN dissection (Bau et al. 2019, arXiv 1811.10597).
    """
    bar = partial(tqdm, disable=not progress)
    net = ppgn.model.load(model)
    layer_of(net.generator, layer)  # refuses an unknown one before the work begins
    pack = Concepts.find(data, count, side=side, seed=seed)
    chosen = commonest(pack, concepts)
    names = [pack.names[place] for place in chosen]
    asked = _asked(wanted, names)
    pixels = cast(Generator, net.generator).signal_shape[-1]
    seeing = own.load(segmenter, None if isinstance(segmenter, nn.Module) else SEEN)
    fitted = partial(fit, seeing, pack, chosen, LAYERS, pixels=pixels, seed=seed)
    probe, quality, held = fitted(bar=partial(bar, desc="segmenter"))
    mean_quality = _believed(quality, f"{len(held)} pictures of '{pack.root}'")
    parts = bar(pack.pictures[held].split(batch_size), desc="codes")
    every = torch.cat([net.encode(reduced(part, pixels)) for part in parts])
    codes, others = every[: min(drawings, 3 * len(every) // 4)], every[-min(MOST, len(every) // 4) :]
    scene = Scene(net.generator, layer, probe)
    read = [scene.read(part) for part in bar(others.split(batch_size), desc="drawings")]
    values, labels = torch.cat([v for v, _ in read]), torch.cat([guess for _, guess in read])
    found, seen = _dissected(values, labels, names, permutations, seed)
    if removed > values.shape[1]:
        raise InputError(f"removed={removed} of the {values.shape[1]} units of layer '{layer}'; give fewer")
    trial = _Trial(scene, codes, others, values, labels, found.iou, names, removed, seed, bar)
    results = [trial.of(name) | {"segmenter_iou": float(quality[names.index(name)])} for name in asked]
    config = {"model": str(getattr(net, "name", model)), "layer": layer, "data": pack.root, "drawings": len(codes)}
    config |= {"removed": removed, "segmenter": seeing.name, "seed": seed}
    config |= {"segmenter_mean_iou": mean_quality, "segmenter_ious": dict(zip(names, quality.tolist(), strict=True))}
    return Interventions(folders.of(out), config, seen, found, trial.counts, results, trial.edits(results))


def _asked(wanted: Any, names: Sequence[str]) -> list[str]:
    """The concepts asked for. Raises `InputError` for one that the segmenter does not know."""
    asked = [str(name) for name in arguments.targets(wanted) if name is not None]
    for name in asked:
        check_known("concept of the segmenter", name, names)
    return asked


def _believed(quality: Tensor, where: str) -> float:
    """The mean IoU of a segmenter. Raises `InputError` where it is too low to be believed."""
    mean = float(quality[~quality.isnan()].mean())
    if mean < GOOD:
        told = f"mean IoU {mean:.2f} on {where}"
        raise InputError(f"the segmenter is poor: {told}; expected {GOOD} or more: give fewer concepts")
    return mean


def _dissected(
    values: Tensor, labels: Tensor, names: Sequence[str], permutations: int, seed: int
) -> tuple[Overlap, Concepts]:
    """The overlap of a generator's units with what the segmenter sees."""
    none = torch.full_like(labels, -1)
    stacked = torch.stack([labels, none, none], dim=1).short()
    blank = torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8)
    seen = Concepts("drawings", blank, stacked, names, ["object"] * len(names), torch.zeros(len(labels)))
    counts = torch.ones(len(names), dtype=torch.bool)
    return overlap(values, seen, counts, share=SHARE, permutations=permutations, seed=seed), seen


@dataclass(frozen=True)
class _Trial:
    """What drawings lose without units and gain with more of them, beside random units.

    `codes` are measured; of `others` the layer's `values` and the `labels` that the segmenter sees are known, and
    `iou` (K, C) by them: they choose the units.
    """

    scene: Scene
    codes: Tensor
    others: Tensor
    values: Tensor
    labels: Tensor
    iou: Tensor
    names: Sequence[str]
    removed: int
    seed: int
    bar: Callable[..., Any]

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return self.values.shape[1]

    @property
    def counts(self) -> list[int]:
        """How many units the curve removes."""
        return [n for n in COUNTS if n <= self.units]

    @cached_property
    def before(self) -> Tensor:
        """The cells of each concept, (N, C), with all units."""
        return self.scene.cells(self.codes)

    @cached_property
    def orders(self) -> list[list[int]]:
        """The units in `RANDOM` random orders."""
        draw = torch.Generator().manual_seed(self.seed)
        return [torch.randperm(self.units, generator=draw).tolist() for _ in range(RANDOM)]

    @cached_property
    def randomly(self) -> Tensor:
        """The cells of each concept without random units, (RANDOM, N, C)."""
        orders = self.bar(self.orders, desc="random units")
        return torch.stack([self.after(self.codes, order[: self.removed]) for order in orders])

    @cached_property
    def random_curve(self) -> list[Tensor]:
        """The same of the first few drawings, without as many random units as the curve removes."""
        few, counts = self.codes[:FEW], self.bar(self.counts, desc="random curve")
        return [self.after(few, self.orders[0][:n]) for n in counts]

    def after(self, codes: Tensor, units: Sequence[int]) -> Tensor:
        """The cells of each concept without `units`, (N, C)."""
        return self.scene.cells(codes, without(units, self.units))

    def of(self, name: str) -> dict[str, Any]:
        """What a concept loses without its units, by both ways to choose them, and where they put it in."""
        place, mean = self.names.index(name), self.mean(name)
        before, few = self.before[:, place], self.before[:FEW, place]
        theirs, ranked = self.randomly[..., place].mean(0), self.ranked(name, mean)
        said: dict[str, Any] = {"concept": name, "random": _gone(before, theirs)}
        said["curve"] = {"random": [_gone(few, cells[:, place]) for cells in self.random_curve]}
        for way, order in ranked.items():
            ours = self.after(self.codes, order[: self.removed])[:, place]
            gone, ends = _gone(before, ours), interval(before, ours, theirs, self.seed)
            said[way] = {"units": order[: self.removed], "removed": gone, "beyond_random": gone - said["random"]}
            said[way] |= {"interval": list(ends)}
            curve = [self.after(self.codes[:FEW], order[:n]) for n in self.bar(self.counts, desc=f"{name}, {way}")]
            said["curve"][way] = [_gone(few, cells[:, place]) for cells in curve]
        said["inserted"] = self.inserted(place, ranked["causal"][: self.removed], mean)
        return said

    def mean(self, name: str) -> Tensor:
        """The units' mean value where the concept is seen, (K,)."""
        cells = (self.labels == self.names.index(name)).float()[:, None]
        weight = (F.adaptive_avg_pool2d(cells, (self.values.shape[2], self.values.shape[3])) > 0.5).float()
        return (self.values * weight).sum((0, 2, 3)) / weight.sum().clamp_min(1)

    def ranked(self, name: str, mean: Tensor) -> dict[str, list[int]]:
        """All units, the highest first: by IoU with the concept, and by causal effect on it."""
        place = self.names.index(name)
        iou, rows = self.iou[:, place], (self.labels == place).flatten(1).any(1).nonzero()[:LEARNT, 0]
        alpha = causal(self.scene, self.others[rows], self.labels[rows], place, iou, mean, epochs=4, seed=self.seed)
        return {way: x.argsort(descending=True).tolist() for way, x in (("iou", iou), ("causal", alpha + 1e-3 * iou))}

    @torch.no_grad()
    def inserted(self, place: int, units: Sequence[int], mean: Tensor) -> dict[str, list[float]]:
        """By what stood there: [places, share of cells that show the concept after], a place in each drawing."""
        alpha, placed = torch.zeros(self.units), list[Tensor]()
        alpha[list(units)] = 1
        put = insertion(alpha, mean, partial(spots_of, draw=torch.Generator().manual_seed(self.seed)), placed)
        parts, labels = self.others[:FEW].split(32), self.labels[:FEW]
        after = torch.cat([self.scene.segmenter(self.scene.draw(part, put)).argmax(1) for part in parts])
        cells = F.interpolate(torch.cat(placed), labels.shape[1:], mode="nearest")[:, 0] > 0
        found: dict[str, list[float]] = {}
        for number, name in enumerate(self.names):
            there = cells & (labels == number)
            if there.any():
                found[name] = [int(there.flatten(1).any(1).sum()), float((after == place)[there].float().mean())]
        return found

    @torch.no_grad()
    def edits(self, results: Sequence[Mapping[str, Any]]) -> Tensor:
        """Of every concept drawings that show most of it, without its units, without random ones; uint8, in rows."""
        rows = []
        for said in results:
            most = self.before[:, self.names.index(said["concept"])].topk(min(SHOWN, len(self.codes))).indices
            for units in ((), said["causal"]["units"], self.orders[0][: self.removed]):
                drawn = self.scene.draw(self.codes[most], without(units, self.units) if units else None)
                rows.append(images.to_uint8(drawn))
        return torch.cat(rows) if rows else torch.zeros(0)


def _gone(before: Tensor, after: Tensor) -> float:
    """The share of a concept's cells that is gone, over all pictures."""
    return float(1 - after.sum() / before.sum().clamp_min(1))


@dataclass(frozen=True, repr=False)
class Interventions(folders.Results):
    """What concepts lose without a generator's units; `save` writes units.csv, curve.png, edits.png, report.json.

    `found` is the overlap of units and what the segmenter sees, `results` has an entry for every concept asked for.
    """

    files = FILES

    seen: Concepts
    found: Overlap
    counts: Sequence[int]
    results: Sequence[Mapping[str, Any]]
    edits: Tensor

    def __repr__(self) -> str:
        said = (f"{one['concept']} {one['causal']['beyond_random']:+.2f}" for one in self.results)
        return f"Interventions({self.config['layer']}, removed beyond random units: {', '.join(said)})"

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        head = {**self.config, "versions": files.versions(), "units": len(self.found.thresholds)}
        return head | {"dissection": self.found.counts(), "counts": list(self.counts), "concepts": list(self.results)}

    def write(self, place: Path) -> None:
        """Write units.csv and, of concepts that were asked for, curve.png and edits.png."""
        lines = ["unit,label,iou,chance,detector\n"]
        each = zip(self.found.labels, self.found.best, self.found.chance, self.found.detectors, strict=True)
        for unit, (label, iou, chance, detector) in enumerate(each):
            lines.append(f"{unit},{self.seen.names[int(label)]},{iou:.5f},{chance:.5f},{bool(detector)}\n")
        paths.write(place / "units.csv", "".join(lines))
        if self.results:
            images.write(place / "edits.png", self.grid())
            paths.write(place / "curve.png", self.chart())

    def grid(self) -> Image.Image:
        """Of every concept a row of drawings, below it those without its units, and without random ones."""
        columns = len(self.edits) // (3 * len(self.results))
        texts: list[str] = []
        for said in self.results:
            for name in (said["concept"], "without its units", "without random units"):
                texts += [name] + [""] * (columns - 1)
        return images.grid(square(self.edits, 128), columns=columns, captions=texts)

    def chart(self) -> bytes:
        """The share removed by the number of units, a panel for every concept. Needs matplotlib."""
        figure = charts.figure(4 * len(self.results), 3.2)
        for axis, said in zip(figure.subplots(1, len(self.results), squeeze=False)[0], self.results, strict=True):
            for way, values in said["curve"].items():
                axis.plot(self.counts, values, marker="o", label=way)
            axis.set(title=said["concept"], xlabel="units set to zero", ylabel="share of the concept removed")
            axis.legend(frameon=False)
        return charts.png(figure)
