"""`inpaint`: photographs without their holes, a chain for every photo and seed."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import ppgn.model
from ppgn import arguments, files, paths
from ppgn.conditions import words
from ppgn.contracts import Condition, Samples
from ppgn.errors import InputError
from ppgn.inpainting.completion import complete, size_of
from ppgn.inpainting.photos import Photo, photos
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.settings import Settings
from ppgn.media import images
from ppgn.runs import describe
from ppgn.sampling import as_config, called, enough_memory

ALONE = "imagenet"  # the condition that asks for nothing where there is no target
TILE = 256  # pixels that a picture takes at most in grid.png
SHOWN = 12  # photos in grid.png
MOST_PIXELS = 1_000_000_000  # of all photos, which are held in memory


def inpaint(
    # -- what to fill --
    image: Any,  # a photo of any size, or a folder of them
    *,
    # where: center, half as wide and high as the photo; random or random-N, a square somewhere, the same every time;
    # alpha, what is transparent; a mask file of the photo's size, white is the hole; a folder of masks named as the
    # photos are
    hole: Any = "center",
    target: Any = None,  # what the condition asks for; null: what is known of the photo decides alone
    condition: Any = "imagenet",  # the network that judges, or several: "imagenet:castle & 0.5*places:mountain"
    # -- how the chains walk --
    seeds: Any = "0-3",  # completions of each photo: 0-15, [1,4,9], 3 or 0-3,8,10-12
    model: Any = "natural64",  # the generator: a name that `ppgn models` lists or a path to a .safetensors file
    prior: Any = None,  # what keeps the hole natural (mixture, joint, dae, gaussian); null is what suits the sampler
    # the kernel. Filling a hole changes what is not set: annealed takes 30 steps from sigma_max=2.5 with epsilon2=2.5,
    # 0.5 without a target; ppgn epsilon1=0.02; released is the published procedure
    sampler: Any = "annealed",
    steps: int | None = None,  # null is the sampler's own number
    # share of the filled photo's code in the start code, 0 to 1, the rest is noise; null is 1, with sampler=ppgn 0.5
    keep: float | None = None,
    fill: str | None = None,  # of the hole that the encoder sees at the start: harmonic or mean; null suits the sampler
    # log p of the known pixels: context.likelihood=gaussian or laplace, context.std=0.1, context.weight=1.0, with
    # sampler=ppgn, mala or dgn_am 10; context.imputations=32: draws from the prior put into the hole to find out what
    # the rest of the photo says of its code, 0 for none; with sampler=annealed
    context: Mapping[str, Any] | None = None,
    trust: Any = (),  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    # -- on which machine --
    batch_size: int = 8,  # chains walked together
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder
) -> Completed:
    """Fill a hole in each photo by one Markov chain a seed -> `Completed`; pixels outside the hole stay as they are.

    image: a file, a folder, a Pillow picture, a tensor (3, H, W), uint8 or in [0, 1], or a list of these. hole: also a
        tensor (H, W), True where it is. sampler: an object is taken as it is. out: files are written there after every
        photo; without it nothing is written until `Completed.save`. progress: a bar on stderr. The others are as in
        `ppgn.sampling.sample`, and `ppgn.inpainting.settings.Settings` tells what is changed for a hole.

    Raises `InputError` for what cannot be used, every photo and hole included, before anything is drawn.
    Source: PPGN (arXiv 1612.00005), section 3.6 and Eq. 12; blending: Pérez, Gangnet & Blake 2003.
    """
    given = dict(locals())
    if callable(target):
        target, condition = None, target
    wanted, *more = arguments.targets(target)
    if more:
        raise InputError(f"target={[wanted, *more]} cannot be used; a hole is filled with one target")
    asked = wanted is not None or condition != ALONE
    settings = Settings.of(sampler, asked=asked, steps=steps, keep=keep, fill=fill, context=context)
    where, chains = arguments.device(device), arguments.seeds(seeds)
    size = arguments.whole("batch_size", batch_size)
    taken = photos(image)
    pixels = sum(photo.pixels[0].numel() for photo in taken)
    if pixels > MOST_PIXELS:
        raise InputError(
            f"image: {pixels / 1e6:.0f} megapixels in all; at most {MOST_PIXELS // 10**6}; give fewer photos"
        )
    folder = None if out is None else Path(out).expanduser()
    if folder is not None:
        paths.check_writable(folder, 4 * pixels * len(chains) + 10_000_000)
    holes = [photo.hole(hole) for photo in taken]
    for photo, place in zip(taken, holes, strict=True):
        Problem.of(photo.pixels, place, (1, 1))  # refuses what cannot be
    made = words.conditions(condition, [wanted], device=where, dtype=torch.float32)[0] if asked else None
    net = ppgn.model.load(model, where, trust)
    resolution, chosen = size_of(net), net.choose_prior(prior, settings.sampler)
    config = as_config(given, net, settings.sampler, chosen, sampler, condition)
    told = {key: getattr(settings, key) for key in ("likelihood", "std", "weight", "imputations")}
    config |= {"image": [photo.file for photo in taken], "keep": settings.keep, "fill": settings.fill, "context": told}
    config["target"] = config["target"] if asked else None
    about = {"condition": config["condition"]["expression"] if asked else None}
    about |= {key: config[key] for key in ("target", "model", "prior")}
    about |= {"sampler": called("sampler", sampler), "steps": settings.sampler.steps, "mask": config["hole"]}
    completed = Completed(folder, config, about, settings, made, chains)
    batches = [chains[i : i + size] for i in range(0, len(chains), size)]
    steps_done = _bar(len(taken) * len(batches) * settings.sampler.steps, shown=progress)
    options: dict[str, Any] = {"condition": made, "prior": chosen, "callback": lambda *_: next(steps_done)}
    with enough_memory(where, size):
        for photo, place in zip(taken, holes, strict=True):
            started = time.perf_counter()
            problem = Problem.of(photo.pixels, place, resolution)
            parts = [complete(net, [problem] * len(some), some, settings, **options) for some in batches]
            completed.add(photo, problem, Samples.concatenate(parts), time.perf_counter() - started)
    return completed


def _bar(total: int, *, shown: bool) -> Iterator[None]:
    """Every item taken moves a bar on stderr; it appears with the first, so that an error before it is one line."""
    often = 0.1 if sys.stderr.isatty() else 2.0
    with tqdm(total=total, desc="inpaint", unit="step", mininterval=often, disable=not shown) as bar:
        while True:
            bar.update()
            yield


class Completed:
    """The photos filled so far: for every photo and then every seed `images`, uint8 (3, H, W) at full size, `scores`,
    `codes` (N, *code_shape) and `seeds`. `rows` tells of each photo its completions, the best first.

    A score is log p of the known pixels plus, if there is one, the condition's log p(y | x), both at the generator's
    size. `save` writes PHOTO-seed-K-completed.png for each, grid.png, report.json and config.yaml.
    """

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        about: Mapping[str, Any],
        settings: Settings,
        condition: Condition | None,
        seeds: Sequence[int],
    ) -> None:
        self.folder, self.config, self.about = folder, dict(config), dict(about)
        self.settings, self.condition, self.seeds = settings, condition, tuple(seeds)
        self.rows: list[dict[str, Any]] = []
        self.scores: list[float] = []
        self.failed = 0
        self._codes: list[Tensor] = []
        self._pictures: list[tuple[str, Tensor | None]] = []  # file names, and what is in no file yet
        self._tiles: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Completed({self.summary()}, best score {max(self.scores, default=math.nan):.3g})"

    @property
    def images(self) -> list[Tensor]:
        """The photos without holes, uint8 (3, H, W) each; read from their files where they are written already."""
        return [
            images.to_uint8(images.read(self._place / name)) if picture is None else picture
            for name, picture in self._pictures
        ]

    @property
    def codes(self) -> Tensor:
        """The codes of what was drawn, (N, *code_shape)."""
        return torch.cat(self._codes)

    @property
    def seconds(self) -> float:
        """How long the chains took."""
        return math.fsum(row["seconds"] for row in self.rows)

    def add(self, photo: Photo, problem: Problem, samples: Samples, seconds: float) -> None:
        """Take all completions of a photo; with a folder they are written, and the report is renewed."""
        said = self._judge(problem, samples.signals)
        pictures = [problem.complete(drawn) for drawn in samples.signals]
        names = [f"{photo.stem}-seed-{seed}-completed.png" for seed in self.seeds]
        best = sorted(range(len(said)), key=lambda row: -said[row]["score"])
        told = [
            {"seed": self.seeds[row], "rank": rank, "file": names[row], "failed": self.seeds[row] in samples.failed}
            | {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in said[row].items()}
            for rank, row in enumerate(best, 1)
        ]
        region, shape = problem.region, problem.hole.shape
        self.rows.append(
            {
                "image": photo.file,
                "size": [shape[1], shape[0]],
                "hole": round(problem.hole.double().mean().item(), 4),
                "region": [region.left, region.top, region.side],
                "seconds": round(seconds, 3),
                "completions": told,
            }
        )
        self.scores += [row["score"] for row in said]
        self.failed += len(samples.failed)
        self._codes.append(samples.codes)
        self._pictures += zip(names, pictures, strict=True)
        if len(self.rows) <= SHOWN:
            self._tiles += map(_tile, [problem.photo, problem.shown, *(pictures[row] for row in best)])
        if self.folder is not None:
            self.save()

    def _judge(self, problem: Problem, drawn: Tensor) -> list[dict[str, Any]]:
        """What known pixels and condition say of each completion, and their sum, "score"."""
        context = self.settings.pixels(problem.image[None], problem.known[None])
        rows = [{"score": value, "log_context": value} for value in context(drawn).tolist()]
        if self.condition is None:
            return rows
        said = describe(self.condition, images.to_uint8(context.composite(drawn)))
        return [
            row | {"score": row["score"] + words.get("log_prob", 0.0)} | words
            for row, words in zip(rows, said, strict=True)
        ]

    def grid(self) -> Image.Image:
        """Per photo a row, of the first dozen: itself, its hole, its completions, the best first."""
        return images.grid(_stack(self._tiles), columns=2 + len(self.seeds))

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        head = self.about | {"seeds": list(self.seeds), "seconds": round(self.seconds, 3)}
        return head | {"versions": files.versions(), "images": self.rows}

    def save(self, folder: str | Path | None = None) -> None:
        """Write all files into `folder`, by default that of `out`. Raises `InputError` where the system refuses."""
        if folder is not None:
            self._pictures = [(name, one) for (name, _), one in zip(self._pictures, self.images, strict=True)]
            self.folder = Path(folder).expanduser()
        for row, (name, picture) in enumerate(self._pictures):
            if picture is not None:
                images.write(self._place / name, picture)
                self._pictures[row] = name, None
        text = json.dumps(self.report(), ensure_ascii=False, indent=1, allow_nan=False)
        paths.write(self._place / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        paths.write(self._place / "report.json", text + "\n")
        images.write(self._place / "grid.png", self.grid())

    @property
    def _place(self) -> Path:
        if self.folder is None:
            raise InputError("these completions have no folder; give one: save(FOLDER)")
        return self.folder

    def summary(self) -> str:
        """One line for the person who waits."""
        counted = f"{len(self)} completions of {len(self.rows)} photo{'s' if len(self.rows) > 1 else ''}"
        return f"{counted} in {self.seconds:.1f} s{f', {self.failed} failed' if self.failed else ''}"


def _tile(picture: Tensor) -> Tensor:
    """A picture uint8 (3, H, W), reduced to at most `TILE` pixels a side."""
    height, width = picture.shape[-2:]
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size == (height, width):
        return picture
    return images.to_uint8(F.interpolate(picture[None].float() / 255, size, mode="bilinear", antialias=True)[0])


def _stack(tiles: Sequence[Tensor]) -> Tensor:
    """Pictures uint8 (3, h, w) on white sheets of one size, (N, 3, H, W), small ones enlarged by a whole factor."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (1, 2))
    sheets = torch.full((len(tiles), 3, height, width), 255, dtype=torch.uint8)
    for sheet, tile in zip(sheets, tiles, strict=True):
        factor = min(height // tile.shape[1], width // tile.shape[2])
        large = tile.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        top, left = (height - large.shape[1]) // 2, (width - large.shape[2]) // 2
        sheet[:, top : top + large.shape[1], left : left + large.shape[2]] = large
    return sheets
