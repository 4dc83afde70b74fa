"""`ppgn inpaint`: from a checked command line to photographs without holes."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import ppgn.model
from ppgn import inpainting, paths
from ppgn.cli import config as configs
from ppgn.cli.results import describe
from ppgn.cli.sample import build_conditions, enough_memory, read_device, read_targets
from ppgn.conditions.context import Context
from ppgn.contracts import Condition
from ppgn.errors import InputError, unknown
from ppgn.inpainting import Fill, Problem
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.samplers.sampler import Sampler

MOST_PIXELS = 64_000_000  # of a photo
CENTER = 0.5  # sides of the hole mask=center, in sides of the picture
RANDOM = 100 / 227  # side of the square hole mask=random, in the picture's shorter sides: as published
TILE = 256  # pixels that a picture takes at most in grid.png
SHOWN = 12  # photos in grid.png
GREY = 128  # of a hole in grid.png
# What inpainting changes of a sampler, unless other words are given; the published values of `released`.
CHANGES = {
    "annealed": ("sampler.steps=30", "sampler.sigma_max=2.5", "sampler.epsilon2=2.5"),
    "ppgn": ("sampler.epsilon1=0.02", "context.weight=10", "keep=0.5"),
    "mala": ("context.weight=10",),
    "dgn_am": ("context.weight=10",),
    "released": ("sampler.steps=20", "sampler.lr_end=1e-32", "sampler.epsilon3=0", "fill=mean"),
}
UNASKED = 0.5  # epsilon2 of sampler annealed where the known pixels alone pull, without a target


@dataclass(frozen=True)
class Request:
    """The command line of `ppgn inpaint`, checked as far as it can be without a network."""

    config: DictConfig
    options: dict[str, str]  # of the groups condition and sampler
    photos: tuple[Path, ...]
    target: str | int | None
    seeds: tuple[int, ...]
    prior: str | None
    fill: Fill
    keep: float
    steps: int | None
    batch_size: int
    device: torch.device
    out: Path

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        first, options = configs.compose("inpaint", words)
        changes = [*CHANGES.get(options["sampler"], ())]
        if first.target is None and options["sampler"] == "annealed":
            changes.append(f"sampler.epsilon2={UNASKED}")
        config, options = configs.compose("inpaint", [*changes, *words])
        target = None if config.target is None else read_targets(config, "target")
        if target is not None and len(target) > 1:
            raise InputError(f"target={list(target)} cannot be used; a hole is filled with one target")
        if target is None and any(word.startswith("condition") for word in words):
            raise InputError(f"condition={options['condition']} has nothing to ask for: add target=NAME")
        if config.fill not in get_args(Fill):
            raise unknown("fill", str(config.fill), get_args(Fill))
        if not 0 <= config.keep <= 1:
            raise InputError(f"keep={config.keep} cannot be used; expected 0 (start from noise) to 1 (from the photo)")
        inpainting.check_imputations(config.context.imputations)
        likelihood(config.context)(torch.zeros(1, 3, 1, 1), torch.ones(1, 1, 1, 1))  # refuses what cannot be
        photos = _photos(Path(str(config.image)).expanduser())
        return Request(
            config=config,
            options=options,
            photos=photos,
            target=None if target is None else target[0],
            seeds=configs.seeds(config.seeds),
            prior=None if config.prior is None else str(config.prior),
            fill=config.fill,
            keep=float(config.keep),
            steps=None if config.steps is None else configs.whole(config, "steps", least=1),
            batch_size=configs.whole(config, "batch_size", least=1),
            device=read_device(str(config.device)),
            out=Path(str(config.out or Path("outputs") / f"inpaint-{Path(str(config.image)).stem}")).expanduser(),
        )

    def context(self, image: Tensor, known: Tensor) -> Context:
        """The likelihood of known pixels that the chains follow."""
        if self.options["sampler"] == "released":
            return Context.released(image, known)
        return self.judging_context(image, known)

    def judging_context(self, image: Tensor, known: Tensor) -> Context:
        """The likelihood of known pixels that completions are ranked by."""
        return likelihood(self.config.context)(image, known)

    def problem(self, photo: Path, size: tuple[int, int]) -> Problem:
        """A photo and its hole, for a generator of `size`. Raises `InputError`."""
        picture, alpha = read_photo(photo)
        hole = read_hole(str(self.config.mask), photo, picture, alpha)
        if alpha is not None and bool((~hole & ~alpha).any()):
            raise InputError(f"'{photo}' is transparent where it should be known; give mask=alpha, or an opaque image")
        return Problem.of(picture, hole, size)


def _photos(place: Path) -> tuple[Path, ...]:
    """The picture files of a folder, or the one file. Raises `InputError` where outputs would bear the same name."""
    if not place.is_dir():
        return (place,)
    suffixes = Image.registered_extensions().keys()
    files = tuple(sorted(path for path in place.iterdir() if path.suffix.lower() in suffixes))
    if not files:
        raise InputError(f"no pictures in '{place}'; give another image=FOLDER or image=FILE")
    stems = [path.stem for path in files]
    twice = next((path for path in files if stems.count(path.stem) > 1), None)
    if twice is not None:
        raise InputError(f"several pictures in '{place}' are named '{twice.stem}'; rename all but one")
    return files


def _load(path: Path) -> Image.Image:
    """A picture file, upright. Raises `InputError` for more pixels than can be worked on, and what cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    size = f"{opened.width}x{opened.height} pixels"
                    raise InputError(f"'{path}' has {size}; at most {MOST_PIXELS // 10**6} megapixels; reduce it")
                picture = ImageOps.exif_transpose(opened)
                picture.load()
                return picture
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            images.read(path)  # says what is wrong with it
            raise


def read_photo(path: Path) -> tuple[Tensor, Tensor | None]:
    """A photo as uint8 (3, H, W) and where it is opaque, bool (H, W), None for everywhere. Raises `InputError`."""
    picture = _load(path)
    if picture.mode.startswith(("I", "F")):
        raise InputError(f"'{path}' has more than 8 bits a channel, which a result would lose; convert it to 8 bits")
    colours = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
    if not picture.has_transparency_data:
        return colours, None
    return colours, torch.from_numpy(np.array(picture.convert("RGBA").getchannel("A")) == 255)


def read_hole(mask: str, path: Path, photo: Tensor, opaque: Tensor | None) -> Tensor:
    """The hole (H, W), bool, that `mask` names for a photo; see `ppgn inpaint --help`. Raises `InputError`."""
    shape = photo.shape[-2:]
    hole = torch.zeros(tuple(shape), dtype=torch.bool)
    number = re.fullmatch(r"random(?:-(\d+))?", mask)
    if mask == "center":
        rows, columns = (slice(round(n * (1 - CENTER) / 2), round(n * (1 + CENTER) / 2)) for n in shape)
        hole[rows, columns] = True
    elif number is not None:
        side = round(RANDOM * min(shape))
        digest = hashlib.blake2b(f"{path.stem}/{number[1] or 0}".encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "little"))
        top, left = (int(generator.integers(n - side + 1)) for n in shape)
        hole[top : top + side, left : left + side] = True
    elif mask == "alpha":
        if opaque is None:
            raise InputError(f"'{path}' has no transparent pixels; give mask=center, random or a mask file")
        hole = ~opaque
    else:
        hole = _painted(Path(mask).expanduser(), path)
    inpainting.check_hole(hole, shape)
    return hole


def _painted(place: Path, photo: Path) -> Tensor:
    """The white part of a mask file, or of the file in a folder that bears the photo's name."""
    if place.is_dir():
        found = [file for file in sorted(place.iterdir()) if file.stem == photo.stem]
        if len(found) != 1:
            raise InputError(
                f"mask: '{place}' has {len(found)} files named '{photo.stem}'; expected one for each image"
            )
        place = found[0]
    elif not place.exists() and place.suffix.lower() not in Image.registered_extensions():
        raise unknown("mask", str(place), ["center", "random", "alpha"], hint="or give a mask file, white is the hole")
    picture = _load(place).convert("RGBA")
    grey = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("L")
    return torch.from_numpy(np.array(grey) >= 128)


def likelihood(settings: DictConfig) -> Callable[[Tensor, Tensor], Context]:
    """What makes a `Context` with the settings `context` of a configuration."""
    return partial(Context, std=settings.std, likelihood=str(settings.likelihood), weight=float(settings.weight))


class Results:
    """The completions so far, and the files in `out` that show them."""

    def __init__(self, request: Request, condition: Condition | None, sampler: Sampler) -> None:
        self.request, self.condition, self.sampler = request, condition, sampler
        self.rows: list[dict[str, Any]] = []
        self.shown: list[Tensor] = []
        self.seconds = 0.0

    def add(self, path: Path, problem: Problem, parts: Sequence[inpainting.Completions], seconds: float) -> None:
        """Take all completions of a photo, write them as they are, best first in the report, and renew the report."""
        drawn, alive = (torch.cat([getattr(part, name) for part in parts]) for name in ("drawn", "alive"))
        said = self._judge(problem, drawn)
        self.seconds += seconds
        tiles = [_tile(problem.photo), _tile(torch.where(problem.hole, GREY, problem.photo))]
        rows: list[dict[str, Any]] = []
        for index in sorted(range(len(said)), key=lambda index: -said[index]["score"]):
            seed = self.request.seeds[index]
            name = f"{path.stem}-seed-{seed}-completed.png"
            completed = problem.complete(drawn[index])
            images.write(self.request.out / name, completed)
            tiles.append(_tile(completed))
            rows.append(
                {"seed": seed, "rank": len(rows) + 1, "file": name, "failed": not alive[index]} | _finite(said[index])
            )
        region = problem.region
        self.rows.append(
            {
                "image": str(path),
                "size": [problem.hole.shape[1], problem.hole.shape[0]],
                "hole": round(problem.hole.double().mean().item(), 4),
                "region": [region.left, region.top, region.side],
                "seconds": round(seconds, 3),
                "completions": rows,
            }
        )
        if len(self.shown) < SHOWN * len(tiles):
            self.shown += tiles
        self.save()

    def _judge(self, problem: Problem, drawn: Tensor) -> list[dict[str, Any]]:
        """What context and condition say of each completion, at the generator's size, and their sum, "score"."""
        context = self.request.judging_context(problem.image[None], problem.known[None])
        log_context = context(drawn).tolist()
        rows = [{"score": value, "log_context": value} for value in log_context]
        if self.condition is None:
            return rows
        said = describe(self.condition, images.to_uint8(context.composite(drawn)))
        return [
            row | {"score": row["score"] + words.get("log_prob", 0.0)} | words
            for row, words in zip(rows, said, strict=True)
        ]

    def save(self) -> None:
        """Write config.yaml, report.json and grid.png, per photo a row: itself, its hole, completions, best first."""
        request = self.request
        report = {
            "condition": None if request.target is None else request.options["condition"],
            "target": request.target,
            "model": str(request.config.model),
            "prior": request.prior,
            "sampler": request.options["sampler"],
            "steps": request.steps or self.sampler.steps,
            "mask": str(request.config.mask),
            "seeds": list(request.seeds),
            "device": str(request.device),
            "seconds": round(self.seconds, 3),
            "versions": {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()},
            "images": self.rows,
        }
        text = json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False)
        paths.write(request.out / "config.yaml", OmegaConf.to_yaml(request.config))
        paths.write(request.out / "report.json", text + "\n")
        sheet = images.grid(_stack(self.shown), columns=2 + len(request.seeds))
        images.write(request.out / "grid.png", sheet)

    def summary(self) -> str:
        """One line for the person who waits."""
        every = [row for photo in self.rows for row in photo["completions"]]
        failed = sum(row["failed"] for row in every)
        photos = f"{len(self.rows)} photo{'s' if len(self.rows) > 1 else ''}"
        return (
            f"{len(every)} completions of {photos} in {self.seconds:.1f} s"
            f"{f', {failed} failed' if failed else ''} -> {self.request.out}"
        )


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which what is no number is None: JSON has no other."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


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


def main(words: Sequence[str]) -> int:
    """Run `ppgn inpaint` with `words`, key=value each -> exit status: 1 where every completion failed, else 0.

    What can be refused, every photo and mask included, is refused before anything is drawn.
    """
    request = Request.read(words)
    sampler: Sampler = configs.build(request.config.sampler)
    pixels = sum(request.problem(photo, (1, 1)).hole.numel() for photo in request.photos)
    paths.check_writable(request.out, 4 * pixels * len(request.seeds) + 10_000_000)
    condition = None
    if request.target is not None:
        (condition,) = build_conditions(request.config.condition, [request.target], request.device, torch.float32)
    called = str(request.config.model)
    model = ppgn.model.load(called, request.device)
    request = replace(request, prior=model.name_of(model.choose_prior(request.prior, sampler)))
    results = Results(request, condition, sampler)
    with enough_memory(request.device, request.batch_size):
        _fill(request, model, sampler, condition, results)
    print(results.summary())
    completions = [row for photo in results.rows for row in photo["completions"]]
    return int(all(row["failed"] for row in completions))


def _fill(request: Request, model: PPGN, sampler: Sampler, condition: Condition | None, results: Results) -> None:
    """Complete photo after photo; each is saved when its last chain is done."""
    batches = [request.seeds[i : i + request.batch_size] for i in range(0, len(request.seeds), request.batch_size)]
    steps = request.steps or sampler.steps
    advance = _progress(len(request.photos) * len(batches) * steps)
    for photo in request.photos:
        problem, started = request.problem(photo, inpainting.size_of(model)), time.perf_counter()
        parts = [
            inpainting.complete(
                model,
                [problem] * len(seeds),
                seeds,
                sampler=sampler,
                condition=condition,
                context=request.context,
                fill=request.fill,
                keep=request.keep,
                imputations=request.config.context.imputations,
                prior=request.prior,
                steps=steps,
                callback=lambda *_: next(advance),
            )
            for seeds in batches
        ]
        results.add(photo, problem, parts, time.perf_counter() - started)


def _progress(total: int) -> Iterator[None]:
    """Advances a bar on stderr with every item taken; the bar appears with the first, so that errors stay one line."""
    with tqdm(total=total, desc="inpaint", unit="step", mininterval=0.1 if sys.stderr.isatty() else 2.0) as bar:
        while True:
            bar.update()
            yield None
