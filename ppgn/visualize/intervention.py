"""Units of a generator: which concepts they draw, and what a picture loses without them or gains with more of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from ppgn.errors import InputError, unknown
from ppgn.media import images
from ppgn.networks import own
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
    asked = [str(name) for name in arguments.targets(wanted) if name is not None]
    for name in asked:
        if name not in names:
            raise unknown("concept of the segmenter", name, names)
    pixels = cast(Generator, net.generator).signal_shape[-1]
    seeing = own.load(segmenter, None if isinstance(segmenter, nn.Module) else SEEN)
    probe, quality, held = fit(
        seeing, pack, chosen, LAYERS, pixels=pixels, seed=seed, bar=partial(bar, desc="segmenter")
    )
    mean_quality = float(quality[~quality.isnan()].mean())
    if mean_quality < GOOD:
        told = f"mean IoU {mean_quality:.2f} on {len(held)} pictures of '{pack.root}'"
        raise InputError(f"the segmenter is poor: {told}; expected {GOOD} or more: give fewer concepts")
    scene = Scene(net.generator, layer, probe)
    parts = pack.pictures[held].split(batch_size)
    every = torch.cat([net.encode(reduced(part, pixels)) for part in bar(parts, desc="codes")])
    codes, others = every[: min(drawings, 3 * len(every) // 4)], every[-min(MOST, len(every) // 4) :]
    read = [scene.read(part) for part in bar(others.split(batch_size), desc="drawings")]
    values, labels = torch.cat([v for v, _ in read]), torch.cat([guess for _, guess in read])
    found, seen = _dissected(values, labels, names, permutations, seed)
    units = values.shape[1]
    if removed > units:
        raise InputError(f"removed={removed} of the {units} units of layer '{layer}'; give fewer")
    before = scene.cells(codes)
    draw = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(units, generator=draw).tolist() for _ in range(RANDOM)]
    randomly = [scene.cells(codes, without(order[:removed], units)) for order in bar(orders, desc="random units")]
    few, counts = codes[:FEW], [n for n in COUNTS if n <= units]
    few_random = {n: scene.cells(few, without(orders[0][:n], units)) for n in bar(counts, desc="random curve")}
    results = []
    for name in asked:
        place = names.index(name)
        weight = (_pooled(labels == place, values) > 0.5)[:, None].float()
        mean = (values * weight).sum((0, 2, 3)) / weight.sum().clamp_min(1)
        shows = (labels == place).flatten(1).any(1).nonzero()[:96, 0]
        alpha = causal(scene, others[shows], labels[shows], place, found.iou[:, place], mean, epochs=4, seed=seed)
        rank = {"iou": found.iou[:, place].argsort(descending=True).tolist()}
        rank["causal"] = (alpha + 1e-3 * found.iou[:, place]).argsort(descending=True).tolist()
        theirs = torch.stack([cells[:, place] for cells in randomly]).mean(0)
        said: dict[str, Any] = {"concept": name, "segmenter_iou": float(quality[place])}
        said["random"] = _gone(before[:, place], theirs)
        said["curve"] = {"random": [_gone(before[:FEW, place], few_random[n][:, place]) for n in counts]}
        for way, order in rank.items():
            ours = scene.cells(codes, without(order[:removed], units))[:, place]
            low, high = interval(before[:, place], ours, theirs, seed)
            gone = _gone(before[:, place], ours)
            said[way] = {"units": order[:removed], "removed": gone, "beyond_random": gone - said["random"]}
            said[way] |= {"interval": [low, high]}
            curve = [scene.cells(few, without(order[:n], units))[:, place] for n in bar(counts, desc=f"{name}, {way}")]
            said["curve"][way] = [_gone(before[:FEW, place], ours) for ours in curve]
        chosen_units = torch.zeros(units)
        chosen_units[rank["causal"][:removed]] = 1
        said["inserted"] = _inserted(scene, others[:FEW], labels[:FEW], place, (chosen_units, mean), names, seed)
        results.append(said)
    config = {"model": str(getattr(net, "name", model)), "layer": layer, "data": pack.root, "drawings": len(codes)}
    config |= {"removed": removed, "segmenter": seeing.name, "seed": seed}
    config |= {"segmenter_mean_iou": mean_quality, "segmenter_ious": dict(zip(names, quality.tolist(), strict=True))}
    edits = _edits(scene, codes, before, results, names, orders[0][:removed], units)
    folder = folders.of(out)
    done = Interventions(folder, config, seen, found, counts, results, edits)
    if folder is not None:
        done.save()
    return done


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


def _pooled(cells: Tensor, values: Tensor) -> Tensor:
    """Cells (N, S, S) as shares of the places of a layer, (N, h, w)."""
    return F.adaptive_avg_pool2d(cells.float()[:, None], (values.shape[2], values.shape[3]))[:, 0]


def _gone(before: Tensor, after: Tensor) -> float:
    """The share of a concept's cells that is gone, over all pictures."""
    return float(1 - after.sum() / before.sum().clamp_min(1))


def _inserted(
    scene: Scene,
    codes: Tensor,
    labels: Tensor,
    place: int,
    edit: tuple[Tensor, Tensor],
    names: Sequence[str],
    seed: int,
) -> dict[str, list[float]]:
    """By what stood there: [places, share of cells that show the concept afterwards], a place in each drawing."""
    placed: list[Tensor] = []
    spots = partial(spots_of, draw=torch.Generator().manual_seed(seed))
    put = insertion(*edit, spots, placed)
    with torch.no_grad():
        after = torch.cat([scene.segmenter(scene.draw(part, put)).argmax(1) for part in codes.split(32)])
    cells = F.interpolate(torch.cat(placed), labels.shape[1:], mode="nearest")[:, 0] > 0
    found: dict[str, list[float]] = {}
    for number, name in enumerate(names):
        there = cells & (labels == number)
        if there.any():
            found[name] = [int(there.flatten(1).any(1).sum()), float((after == place)[there].float().mean())]
    return found


def _edits(
    scene: Scene,
    codes: Tensor,
    before: Tensor,
    results: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    randomly: Sequence[int],
    units: int,
) -> Tensor:
    """Of every concept three rows: drawings that show most of it, without its units, without random ones, uint8."""
    rows = []
    for said in results:
        top = codes[before[:, names.index(said["concept"])].topk(min(SHOWN, len(codes))).indices]
        for edit in (None, without(said["causal"]["units"], units), without(randomly, units)):
            with torch.no_grad():
                rows.append(images.to_uint8(scene.draw(top, edit)))
    return torch.cat(rows) if rows else torch.zeros(0)


@dataclass(frozen=True, repr=False)
class Interventions:
    """What concepts lose without a generator's units; `save` writes units.csv, curve.png, edits.png, report.json.

    `found` is the overlap of units and what the segmenter sees, `results` has an entry for every concept asked for.
    """

    folder: Path | None
    config: Mapping[str, Any]
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

    def save(self, folder: str | Path | None = None, *, overwrite: bool = False) -> None:
        """Write all files into `folder`, by default that of `out`.

        Raises `InputError` where the system refuses, and where another folder holds results but for `overwrite`.
        """
        place = folders.chosen(self.folder, folder, overwrite, *FILES)
        lines = ["unit,label,iou,chance,detector\n"]
        each = zip(self.found.labels, self.found.best, self.found.chance, self.found.detectors, strict=True)
        for unit, (label, iou, chance, detector) in enumerate(each):
            lines.append(f"{unit},{self.seen.names[int(label)]},{iou:.5f},{chance:.5f},{bool(detector)}\n")
        paths.write(place / "units.csv", "".join(lines))
        paths.write(place / "config.yaml", paths.as_yaml(self.config))
        paths.write(place / "report.json", paths.as_json(self.report()))
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
        enlarged = torch.stack([images.to_uint8(images.fit(picture / 255, (128, 128))) for picture in self.edits])
        return images.grid(enlarged, columns=columns, captions=texts)

    def chart(self) -> bytes:
        """The share removed by the number of units, a panel for every concept. Needs matplotlib."""
        figure = charts.figure(4 * len(self.results), 3.2)
        for axis, said in zip(figure.subplots(1, len(self.results), squeeze=False)[0], self.results, strict=True):
            for way, values in said["curve"].items():
                axis.plot(self.counts, values, marker="o", label=way)
            axis.set(title=said["concept"], xlabel="units set to zero", ylabel="share of the concept removed")
            axis.legend(frameon=False)
        return charts.png(figure)
