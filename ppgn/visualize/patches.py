"""The photographs that excite a unit most, what of them it sees, and what in that it responds to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ppgn import arguments, files, folders
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, check_known
from ppgn.media import images
from ppgn.networks import own
from ppgn.photographs import Photographs
from ppgn.progress import Bar
from ppgn.visualize import attribution, receptive_field
from ppgn.visualize.pictures import FIELDS, Look, Scan, dimmed
from ppgn.visualize.subject import inner, units

KINDS = ("photo", "patch", "map", "mask")
FILES = ("report.json", "grid.png", "config.yaml", *(f"*/[0-9]*-{kind}.png" for kind in KINDS))


@folders.results(*FILES)
def patches(
    # -- what to look for, and where --
    data: Any,  # photographs: a folder of files or of val_images.npy, uint8 (N, S, S, 3), or several folders
    unit: Any,  # its number; of the outputs also a class name; a list of several
    *,
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME, file.py:NAME, FILE.pt2
    network: Any = "efficientnet_lite1",
    size: int | None = None,  # side of its input in pixels; null: what suits the network
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    layer: str | None = None,  # one that `ppgn units` lists; null is the last, whose units are the classes
    n: int = 9,  # patches of each unit
    method: str = "guided",  # of the maps: deconvnet, guided, gradient, smoothgrad, occlusion, gradcam, integrated
    count: int | None = None,  # photographs to look at, spread evenly; null is all
    # -- on which machine --
    batch_size: int = 32,
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Patches:
    """Find the photographs that excite units most, one patch each, as wide as the receptive field -> `Patches`.

    Beside every patch stand its map by `method` and the photograph, dimmed where the unit is below the threshold that
    it exceeds at 0.5 % of all places. Where the receptive field is larger than half the image, patches are the
    square around the place that holds 90 % of the gradient.

    Raises `InputError` for what cannot be used, and for fewer photographs than patches.
    Source: Zeiler and Fergus 2014 (arXiv 1311.2901), figure 2; masks: Bau et al. 2017 (arXiv 1704.05796).
    """
    given = dict(locals())
    for name in ("n", "batch_size"):
        arguments.whole(name, given[name])
    check_known("method", method, attribution.METHODS)
    where = arguments.device(device)
    found = units(own.load(network, size, weights), layer, unit, "max", where)
    pictures = Photographs.find(data)
    rows = list(range(len(pictures))) if count is None else pictures.rows(arguments.whole("count", count))
    if len(rows) < n:
        raise InputError(f"{len(rows)} photographs for n={n} patches; give a smaller n or more photographs")
    bar = partial(Bar, disable=not progress)
    look = Look(inner(found[0]), found[0].layer, pictures, rows, where)
    scan = look.scan([one.index for one in found], batch_size, bar)
    of_units = [_of_unit(look, one, number, scan, n, method, bar) for number, one in enumerate(found)]
    config = {"data": pictures.root, "count": len(rows), "network": look.network.name, "layer": look.layer}
    return Patches(folders.of(out), config | {"unit": unit, "n": n, "method": method}, of_units)


def _of_unit(look: Look, one: Unit, number: int, scan: Scan, n: int, method: str, bar: Callable[..., Any]) -> Found:
    """The patches of a unit, `number` of the scan."""
    peaks, threshold = scan.peaks[:, number], float(scan.thresholds[number])
    order = peaks.topk(max(n, min(FIELDS, len(peaks)))).indices
    places, seen = scan.places[order, number], look.images(order.tolist())
    explain = attribution.METHODS[method]
    every = [explain(one, seen[i : i + 1], 0)[0].cpu() for i in bar(range(n), desc=one.name)]
    plane = look.activations(seen[:n], [one.index]).view(n, 1, look.grid.height or 1, look.grid.width or 1)
    enlarged = F.interpolate(plane, seen.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return Found(
        name=one.name,
        threshold=threshold,
        field=receptive_field.of(look.network, look.layer, one.index, seen[:FIELDS], places[:FIELDS]),
        files=[look.natural.name(look.rows[row]) for row in order[:n].tolist()],
        activations=peaks[order[:n]].tolist(),
        places=places[:n].tolist(),
        pictures=seen[:n].cpu(),
        maps=torch.stack(every),
        masks=enlarged > threshold,
        peaks=peaks,
    )


@dataclass(frozen=True)
class Found:
    """The patches of one unit, the strongest first; pictures and maps (N, 3, S, S), masks (N, S, S).

    `peaks` is the unit's highest activation in every photograph that was looked at, in their order.
    """

    name: str
    threshold: float
    field: receptive_field.Field
    files: Sequence[str]
    activations: Sequence[float]
    places: Sequence[int]
    pictures: Tensor
    maps: Tensor
    masks: Tensor
    peaks: Tensor

    def images(self) -> dict[str, Tensor]:
        """Of each of `KINDS` uint8 (N, 3, S, S): photographs with the field's frame, patches, maps, masks."""
        side, found = self.pictures.shape[-1], {kind: list[Tensor]() for kind in KINDS}
        for picture, seen, mask, place in zip(self.pictures, self.maps, self.masks, self.places, strict=True):
            box = self.field.at(place)
            found["photo"].append(_framed(picture, box))
            found["patch"].append(images.fit(box.crop(picture), (side, side)))
            found["map"].append(images.fit(attribution.shown(box.crop(seen, 0.0)), (side, side)))
            found["mask"].append(dimmed(picture, mask))
        return {kind: images.to_uint8(torch.stack(every)) for kind, every in found.items()}

    def report(self) -> dict[str, Any]:
        """What report.json says of the unit."""
        rows = []
        for file, value, place in zip(self.files, self.activations, self.places, strict=True):
            box = self.field.at(place)
            said = {"top": box.top, "left": box.left, "bottom": box.bottom, "right": box.right}
            rows.append({"file": file, "activation": value, "place": place, "box": said})
        box = self.field.box
        field = {"side": max(box.bottom - box.top, box.right - box.left), "effective": self.field.effective}
        return {"unit": self.name, "threshold": self.threshold, "field": field, "patches": rows}


def _framed(picture: Tensor, box: receptive_field.Box) -> Tensor:
    """A picture (3, S, S) with the frame of a box, red, as far as it is inside."""
    side, framed = picture.shape[-1], picture.clone()
    top, left, bottom, right = (min(max(edge, 0), side) for edge in (box.top, box.left, box.bottom, box.right))
    red = torch.tensor([1.0, 0, 0])[:, None]
    for row in {top, max(bottom - 1, 0)}:
        framed[:, min(row, side - 1), left:right] = red
    for column in {left, max(right - 1, 0)}:
        framed[:, top:bottom, min(column, side - 1)] = red
    return framed


@dataclass(frozen=True, repr=False)
class Patches(folders.Results):
    """The patches of units; `save` writes grid.png, UNIT/RANK-KIND.png, report.json and config.yaml."""

    files = FILES

    found: Sequence[Found]

    def __repr__(self) -> str:
        return f"Patches({len(self.found)} units of {self.config['layer']}, {self.config['count']} photographs)"

    def grid(self) -> Image.Image:
        """Of every unit four rows, one for each of `KINDS`, the strongest left."""
        rows: list[Tensor] = []
        texts: list[str] = []
        for one in self.found:
            for kind, every in one.images().items():
                rows.append(every)
                values = [f"{one.name}: {value:.2f}" for value in one.activations]
                texts += values if kind == "photo" else [kind if kind != "map" else self.config["method"]] * len(every)
        return images.grid(torch.cat(rows), columns=len(rows[0]), captions=texts)

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        return {**self.config, "versions": files.versions(), "units": [one.report() for one in self.found]}

    def write(self, place: Path) -> None:
        """Write grid.png and UNIT/RANK-KIND.png."""
        images.write(place / "grid.png", self.grid())
        for one in self.found:
            for kind, every in one.images().items():
                for rank, picture in enumerate(every, 1):
                    images.write(place / one.name.replace("/", "-") / f"{rank}-{kind}.png", picture)
