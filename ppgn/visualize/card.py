"""A unit on one page: what is drawn for it, what excites it, how strongly, what it is called; a layer on a sheet."""

from __future__ import annotations

import base64
import csv
import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import ppgn.model
from ppgn import arguments, files, folders, paths
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, why
from ppgn.media import images
from ppgn.networks import own
from ppgn.photographs import Photographs
from ppgn.settings import called
from ppgn.visualize import charts, embedding
from ppgn.visualize.facets import facets
from ppgn.visualize.maximization import activations, maximize
from ppgn.visualize.patches import Found, Patches, patches
from ppgn.visualize.pictures import Pictures
from ppgn.visualize.subject import Subject, inner, subject
from ppgn.visualize.subject import units as units_of

METHODS = {
    "ppgn": "A generator's samples by a Markov chain (PPGN)",
    "maco": "Phases of a natural spectrum (MACO)",
    "lucid": "A decorrelated Fourier spectrum under transforms (Lucid)",
}
HIGHEST = 300  # photographs, those that excite the unit most, whose facets are sought
AT_ONCE = 32  # units that are looked for in one pass over the photographs
WIDTH, HEIGHT, EDGE = 1280, 800, 24  # of a page, of an enlarged picture in it, and of what is around, in pixels
THUMB = 128  # pixels of a picture on a sheet
STYLE = "body{max-width:1280px;margin:24px auto;font-family:sans-serif}img{max-width:100%}"
UNIT = ("page.png", "strip.png", "report.json", "page.html")  # the page itself is written last


def card(
    # -- of which unit --
    layer: str,  # one that `ppgn units` lists
    data: Any,  # photographs: a folder of files or of val_images.npy, uint8 (N, S, S, 3), or several folders
    *,
    unit: Any = None,  # its number, or a list of several
    units: Any = None,  # numbers as 0-31 or 0-3,8: a page of each, and all on a sheet
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME, file.py:NAME, FILE.pt2
    network: Any = "efficientnet_lite1",
    size: int | None = None,  # side of its input in pixels; null: what suits the network
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    position: Any = "center",  # at which images are drawn for it: center, [y,x], a token's number, class, mean, max
    # -- what stands on the page --
    dissection: str | Path | None = None,  # a folder that `ppgn dissect` wrote for this layer
    count: int | None = None,  # photographs to look at, spread evenly; null is all
    n: int = 9,  # photographs that excite it most
    method: str = "guided",  # of their maps: deconvnet, guided, gradient, smoothgrad, occlusion, gradcam, integrated
    k: int = 3,  # facets; 0 leaves them out
    seeds: Any = "0-3",  # an image of each method and facet per seed: 0-15, [1,4,9], 3 or 0-3,8,10-12
    evaluations: int = 256,  # looks of the network at each image
    side: int = 128,  # of the images in pixels; those of ppgn and the facets are the model's
    model: Any = "natural64",  # the generator: a name that `ppgn models` lists or a path to a .safetensors file
    # -- on which machine --
    batch_size: int = 8,  # images at a time
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; a unit whose page stands there is not made again
    overwrite: bool = False,  # true makes all pages again
) -> Cards:
    """Put on one page what is known of a unit -> `Cards`, a page per unit.

    A page has images by `METHODS` at equal looks of the network, facets, the photographs that excite the unit most with
    maps and masks, its label by a dissection, and a histogram of its activation in every photograph, with the threshold
    that it exceeds at 0.5 % of all places and where the images lie. Activations are those of the strongest place.

    progress: bars on stderr. out: each page is written there when it is made; without it nothing is written until
    `Cards.save`. Raises `InputError` for what cannot be used, for pages made with other settings in `out`, and where
    matplotlib or, for facets, scikit-learn is not installed. Sources: see the modules `maximization`, `facets`,
    `patches` and `dissection`.
    """
    given = dict(locals())
    _check(given)
    where, chains = arguments.device(device), arguments.seeds(seeds)
    if k:
        embedding.check("tsne")
    charts.figure(1, 1)
    seen = own.load(network, size, weights)
    numbers = unit if units is None else list(arguments.seeds(units, "units"))
    wanted = {one.index: one for one in units_of(seen, layer, numbers, "max", where)}
    natural = Photographs.find(data)
    rows = natural.rows(len(natural) if count is None else arguments.whole("count", count))
    if len(rows) < max(n, 2 * k, 4 if k else 1):
        raise InputError(f"{len(rows)} photographs for n={n} and k={k} facets; give more, or a smaller n and k")
    said = _dissected(dissection, seen.name, layer)
    config: dict[str, Any] = {"network": seen.name, "size": size, "weights": str(weights), "layer": layer}
    config |= {"model": called("model", model), "data": natural.root, "photographs": len(rows), "seeds": list(chains)}
    config |= {"dissection": None if dissection is None else str(dissection)}
    config |= {key: given[key] for key in ("position", "n", "method", "k", "evaluations", "side")}
    done = Cards(folders.of(out), config, {})
    options: dict[str, Any] = {"device": where, "progress": progress}
    with folders.alone(done.folder):
        done.pages.update(done.standing(list(wanted), overwrite))
        lacking = [one for number, one in wanted.items() if number not in done.pages]
        drawing = options | {"seeds": chains, "batch_size": batch_size}
        drawing |= {"model": ppgn.model.load(model, where)} if lacking else {}
        for block in (lacking[i : i + AT_ONCE] for i in range(0, len(lacking), AT_ONCE)):
            asked = [one.index for one in block]
            looked = patches(natural, asked, network=seen, layer=layer, n=n, method=method, count=count, **options)
            for one, top in zip(block, looked.found, strict=True):
                done.add(one.index, _page(one, top, natural, rows, config, said.get(str(one.index)), drawing))
        if done.folder is not None:
            done.save()
    return done


def _check(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for numbers that cannot be used, and unless either a unit or several are asked for."""
    for name, least in {"n": 1, "k": 0, "evaluations": 2, "side": 32, "batch_size": 1}.items():
        arguments.whole(name, given[name], least)
    if (given["unit"] is None) == (given["units"] is None):
        raise InputError("a page is of one unit, unit=NUMBER, and a sheet of several, units=0-31; give one of them")


def _dissected(folder: str | Path | None, network: str, layer: str) -> dict[str, list[str]]:
    """What a report of `ppgn dissect` says of every unit, by number; empty without one. Raises `InputError`."""
    if folder is None:
        return {}
    place, said = Path(folder).expanduser(), {}
    try:
        report = json.loads((place / "report.json").read_text(encoding="utf-8"))
        about = report["network"], report["layer"]
        beyond, rotated = (report[key]["detectors_beyond_chance"] for key in ("as_it_is", "rotated"))
        whole = f"In the layer {beyond} of {report['units']} units are detectors, after a random rotation {rotated}."
        with (place / "units.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                verdict = "a detector" if row["detector"] == "True" else "no detector"
                first = f"{row['label']} ({row['category']}): IoU {float(row['iou']):.3f}, {verdict}; "
                first += f"permuted labels give {float(row['chance']):.3f} or less in 99 % of cases."
                second = f"Second: {row['second']}, IoU {float(row['second_iou']):.3f}."
                said[row["unit"]] = [first, second, whole]
    except files.DAMAGED as error:
        expected = "expected report.json and units.csv as ppgn dissect writes them"
        raise InputError(f"cannot read the dissection '{place}' ({why(error)}); {expected}") from error
    if about != (network, layer):
        raise InputError(f"'{place}' dissects {about[1]} of {about[0]}, not {layer} of {network}; give another folder")
    return said


def _page(
    one: Unit,
    top: Found,
    natural: Photographs,
    rows: Sequence[int],
    config: Mapping[str, Any],
    label: list[str] | None,
    drawing: dict[str, Any],
) -> Page:
    """The page of a unit, given as its strongest activation, its photographs and what a dissection says of it."""
    if not top.peaks.isfinite().all():
        raise InputError(f"{one.name} of {one.layer}: its activations are not finite; give another network or layer")
    words: dict[str, Any] = {"network": inner(one), "layer": one.layer, "position": config["position"]}
    cost = {key: config[key] for key in ("evaluations", "side")}
    drawn = maximize(one.index, method=list(METHODS), **words, **cost, **drawing).drawn
    values = {name: activations(Subject(one, one.name), pictures) for name, pictures in drawn.items()}
    high = float(top.peaks.quantile(0.99))
    scores = {name: _score(found, top.peaks, high) for name, found in values.items()}
    sections = [Section("scores", [_line(name, score, high) for name, score in scores.items()])]
    sections += [Section("dissection", label)] if label else []
    sections += [_of_method(name, drawn[name], found, top.peaks) for name, found in values.items()]
    sections += [_of_facets(one, top, natural, rows, config, words, drawing)] if config["k"] else []
    sections += [_of_photographs(top, config["method"]), _of_activations(top, values)]
    title = f"{inner(one).name} {one.layer} {one.name}"
    report = {**config, "unit": one.index, "name": title, "versions": files.versions(), "scores": scores}
    report |= {"label": label, "photographs_99": high} | top.report()
    return Page.of(title, sections, _strip(one, top, drawn, values, label), report)


def _below(peaks: Tensor, found: Tensor) -> Tensor:
    """The share of the photographs' activations that is below each of an image, (B,)."""
    return (peaks[:, None] < found).double().mean(0)


def _score(found: Tensor, peaks: Tensor, high: float) -> dict[str, float]:
    """How activations of images compare with those of photographs, and how often they are above a `high` one."""
    score = {"activation": float(found.mean()), "percentile": 100 * float(_below(peaks, found).mean())}
    return score | {"above_99": float((found > high).double().mean())}


def _line(name: str, score: Mapping[str, float], high: float) -> str:
    return (
        f"{name}: mean activation {score['activation']:.2f}, above {score['percentile']:.1f} % of the photographs; "
        f"{100 * score['above_99']:.0f} % of images above the 99th percentile, {high:.2f}."
    )


def _of_method(name: str, drawn: Tensor, found: Tensor, peaks: Tensor) -> Section:
    """The images of a method, with their activations."""
    texts = [f"{value:.2f} ({100 * share:.1f} %)" for value, share in zip(found, _below(peaks, found), strict=True)]
    grid = images.grid(drawn, columns=len(found), captions=texts, scale="auto")
    return Section(name, [f"{METHODS[name]}. Activation, and share of photographs below it."], grid)


def _of_facets(
    one: Unit,
    top: Found,
    natural: Photographs,
    rows: Sequence[int],
    config: Mapping[str, Any],
    words: Mapping[str, Any],
    drawing: Mapping[str, Any],
) -> Section:
    """The facets of the photographs that excite a unit most."""
    best = [rows[row] for row in top.peaks.argsort(descending=True)[:HIGHEST].tolist()]
    pictures = Pictures(natural.root, natural.take(best, inner(one).side), [natural.name(row) for row in best])
    asked = subject(one.index, device=drawing["device"], **words).condition
    kinds = facets(one.index, pictures, condition=asked, k=config["k"], steps=config["evaluations"], **drawing)
    sizes = ", ".join(str(len(facet.members)) for facet in kinds.found)
    text = f"A row per facet of {len(best)} photographs ({sizes}): what the unit sees of the nearest; PPGN's samples."
    return Section("facets", [text], kinds.grid())


def _of_photographs(top: Found, method: str) -> Section:
    """What a unit sees of the photographs that excite it most."""
    text = "The photographs that excite it most, what it sees of them, what in that it responds to, where it is high."
    return Section(f"top {len(top.files)} photographs", [text], Patches(None, {"method": method}, [top]).grid())


def _of_activations(top: Found, values: Mapping[str, Tensor]) -> Section:
    """A histogram of the photographs' activations."""
    text = f"Strongest activation in each of {len(top.peaks)} photographs; threshold {top.threshold:.2f}."
    return Section("activations", [text], _histogram(top, values))


def _strip(
    one: Unit, top: Found, drawn: Mapping[str, Tensor], values: Mapping[str, Tensor], label: Sequence[str] | None
) -> Image.Image:
    """The row of a sheet: of each method the image that excites the unit most, then three photographs' patches."""
    tiles = [images.fit(x[values[name].argmax()] / 255, (THUMB, THUMB)) for name, x in drawn.items()]
    tiles += [images.fit(x / 255, (THUMB, THUMB)) for x in top.images()["patch"][:3]]
    tiles += [torch.ones(3, THUMB, THUMB)] * (len(METHODS) + 3 - len(tiles))
    first = (label or [""])[0]
    heads = [one.name, first.partition(" (")[0] + (", chance" if "no detector" in first else ""), *[""] * 4]
    below = [f"{name} {found.max():.2f}" for name, found in values.items()] + [f"{x:.2f}" for x in top.activations]
    captions = [f"{head}\n{text}" for head, text in zip(heads, [*below, "", ""], strict=False)]
    return images.grid(torch.stack(tiles), columns=len(tiles), captions=captions)


def _histogram(top: Found, values: Mapping[str, Any]) -> Image.Image:
    """Of the photographs' activations, with the threshold and the images' activations."""
    chart = charts.figure(10, 3.5)
    axis = chart.add_subplot()
    axis.hist(top.peaks.tolist(), bins=50, log=True, color="lightgrey")
    axis.axvline(top.threshold, color="black", linestyle="--", label="threshold")
    for height, (name, found) in enumerate(values.items(), 1):
        place = axis.get_xaxis_transform()
        axis.plot(found.tolist(), [0.1 * height] * len(found), "o", transform=place, label=name)
    axis.set(xlabel="activation", ylabel="photographs")
    axis.legend(frameon=False)
    return Image.open(io.BytesIO(charts.png(chart))).convert("RGB")


@dataclass(frozen=True)
class Section:
    """A part of a page: lines of text, and a picture below them."""

    title: str
    lines: Sequence[str]
    picture: Image.Image | None = None

    def fitted(self) -> Image.Image | None:
        """The picture, enlarged by a whole number or reduced to a page's width."""
        if self.picture is None:
            return None
        width, height = self.picture.size
        times = max(1, min(WIDTH // width, HEIGHT // height)) if width <= WIDTH else WIDTH / width
        return self.picture.resize((round(times * width), round(times * height)), Image.Resampling.LANCZOS)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", compress_level=2)
    return buffer.getvalue()


def _drawn(title: str, sections: Sequence[Section]) -> Image.Image:
    """A page as a picture."""
    head, text = ImageFont.load_default(24), ImageFont.load_default(15)
    parts: list[tuple[Any, int]] = [((title, head), 40)]
    for section in sections:
        parts += [
            ((section.title, head), 36),
            *[((line, text), 22) for whole in section.lines for line in textwrap.wrap(whole, 160)],
        ]
        picture = section.fitted()
        parts += [(picture, picture.height + EDGE)] if picture else [(("", text), EDGE // 2)]
    sheet = Image.new("RGB", (WIDTH + 2 * EDGE, sum(height for _, height in parts) + 2 * EDGE), "white")
    draw, y = ImageDraw.Draw(sheet), EDGE
    for part, height in parts:
        if isinstance(part, Image.Image):
            sheet.paste(part, (EDGE, y))
        else:
            draw.text((EDGE, y), part[0], "black", part[1])
        y += height
    return sheet


def _html(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{escape(title)}</h1>\n{body}</body></html>\n'
    )


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


@dataclass(frozen=True, repr=False)
class Page:
    """A unit's page: its files, or the folder that they are in. page.html needs no other; strip.png is for a sheet."""

    files: Mapping[str, bytes]
    folder: Path | None = None

    @staticmethod
    def of(title: str, sections: Sequence[Section], strip: Image.Image, report: Mapping[str, Any]) -> Page:
        """Lay out a page."""
        body = ""
        for section in sections:
            picture = section.fitted()
            body += f"<h2>{escape(section.title)}</h2>\n" + "".join(f"<p>{escape(x)}</p>\n" for x in section.lines)
            body += _image(_png(picture), f"{section.title} of {title}") + "\n" if picture else ""
        made = {"page.png": _png(_drawn(title, sections)), "strip.png": _png(strip)}
        made["report.json"] = paths.as_json(report).encode()
        return Page(made | {"page.html": _html(title, body).encode()})

    def read(self, name: str) -> bytes:
        """One of its files. Raises `InputError` where it is there no more."""
        if self.folder is None:
            return self.files[name]
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read '{self.folder / name}': {error.strerror}; give overwrite=true") from error

    @property
    def report(self) -> dict[str, Any]:
        """Scores, threshold, label and photographs of the unit."""
        found: dict[str, Any] = json.loads(self.read("report.json"))
        return found


@dataclass(frozen=True, repr=False)
class Cards:
    """Pages of units by number; `save` writes unit-NUMBER/page.png and .html, of several sheet.png and sheet.html."""

    folder: Path | None
    config: Mapping[str, Any]
    pages: dict[int, Page]

    def __repr__(self) -> str:
        return f"Cards({len(self.pages)} units of {self.config['layer']}, {self.config['photographs']} photographs)"

    def standing(self, numbers: Sequence[int], overwrite: bool = False) -> dict[int, Page]:
        """The pages that `folder` has of these units; with `overwrite` none, and all there are deleted.

        Raises `InputError` where they are of other settings.
        """
        if self.folder is None:
            return {}
        for earlier in self.folder.glob(f"unit-*/{UNIT[-1]}") if overwrite else ():
            earlier.unlink()
        if not (self.folder / "config.yaml").exists():
            return {}
        places = {number: self.folder / _name(number) for number in numbers}
        found = {number: Page({}, place) for number, place in places.items() if (place / UNIT[-1]).exists()}
        if found and (self.folder / "config.yaml").read_text(encoding="utf-8") != paths.as_yaml(self.config):
            raise InputError(f"'{self.folder}' holds pages of other settings; give overwrite=true or another out")
        return found

    def add(self, number: int, page: Page) -> None:
        """Take the page of a unit, and write it into `folder`, if there is one."""
        self.pages[number] = page
        if self.folder is not None:
            self.write(self.folder, number)

    def write(self, folder: Path, number: int) -> None:
        """Write the page of a unit, and keep it there from now on."""
        paths.write(folder / "config.yaml", paths.as_yaml(self.config))
        for name in UNIT:
            paths.write(folder / _name(number) / name, self.pages[number].read(name))
        if folder == self.folder:
            self.pages[number] = Page({}, folder / _name(number))

    def sheet(self) -> Image.Image:
        """A row per unit: of each method the image that excites it most, then what it sees of three photographs."""
        strips = [Image.open(io.BytesIO(self.pages[number].read("strip.png"))) for number in sorted(self.pages)]
        return images.grid(torch.stack([torch.from_numpy(np.array(x)).permute(2, 0, 1) for x in strips]), columns=1)

    def html(self) -> str:
        """The sheet, each row a way to its page."""
        rows = ""
        for number in sorted(self.pages):
            alt = f"unit {number}: images of each method, then what it sees of three photographs"
            strip = _image(self.pages[number].read("strip.png"), alt)
            rows += f'<p><a href="{_name(number)}/page.html">{strip}</a></p>\n'
        return _html(f"{self.config['network']} {self.config['layer']}", rows)

    def save(self, folder: str | Path | None = None, *, overwrite: bool = False) -> None:
        """Write all files into `folder`, by default that of `out`.

        Raises `InputError` where the system refuses, and where another folder holds pages but for `overwrite`.
        """
        place = folders.chosen(self.folder, folder, overwrite, "config.yaml", f"unit-*/{UNIT[-1]}")
        if place != self.folder:
            for number in self.pages:
                self.write(place, number)
        if len(self.pages) > 1:
            images.write(place / "sheet.png", self.sheet())
            paths.write(place / "sheet.html", self.html())


def _name(number: int) -> str:
    """The folder of a unit's page."""
    return f"unit-{number:04d}"
