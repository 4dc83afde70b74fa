"""`ppgn evaluate`: from a checked command line to a table of figures.

`WHAT` lists what can be measured. Each is a function of the request and a report, which it gives a row of figures as
soon as the row is measured.
"""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import ppgn.model
from ppgn import images, inpainting, paths
from ppgn.cli import config as configs
from ppgn.cli import inpaint
from ppgn.cli.results import describe
from ppgn.cli.sample import build_conditions, enough_memory, read_device, read_targets
from ppgn.conditions.base import Condition as BaseCondition
from ppgn.conditions.context import Context
from ppgn.contracts import Condition, Generator
from ppgn.errors import InputError, unknown
from ppgn.generators.identity import Identity
from ppgn.inpainting import Problem
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics import inpainting as fills
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN
from ppgn.samplers import presets
from ppgn.samplers.noise import Noise
from ppgn.samplers.presets import Sampler

SIDE = 64  # pixels; larger pictures are reduced to it before they are judged
BLURS = (32, 24, 16, 8)  # pixels a side that the originals go through
SHOWN = 8  # pictures in a row of a grid
PIXEL_STEP = 0.02  # RMS change of a pixel in the first step of gradient ascent on pixels
INPAINTING = ("n=100", *inpaint.CHANGES["ppgn"])  # what=inpainting, unless other words are given
HOLES = ("center", "random")  # as in `ppgn inpaint`
KEEP = 0.5  # likewise
# What decides no figure.
FREE_KEYS = ("batch_size", "device", "out", "target")

Figures = Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Request:
    """The command line of `ppgn evaluate`, checked as far as it can be without a network."""

    config: DictConfig
    options: dict[str, str]  # of the groups condition and sampler
    what: str
    data: Data
    n: int
    classes: tuple[str | int, ...]
    seeds: tuple[int, ...]
    systems: tuple[str, ...]
    steps: int | None
    batch_size: int
    device: torch.device
    out: Path

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        config, options = configs.compose("evaluate", words)
        what = str(config.what)
        if what not in WHAT:
            raise unknown("what", what, WHAT)
        if what == "inpainting":
            config, options = configs.compose("evaluate", [*INPAINTING, *words])
        if config.target is not None:
            raise InputError(f"target={config.target} cannot be used here; give the classes: classes=[{config.target}]")
        classes, systems = read_targets(config, "classes"), tuple(str(name) for name in config.systems)
        for key, names in (("classes", classes), ("systems", systems)):
            if not names or len(set(names)) < len(names):
                raise InputError(f"{key}=[{','.join(map(str, names))}]: expected one name or more, each once")
        for system in systems:
            if system not in SYSTEMS:
                raise unknown("system", system, SYSTEMS)
        seeds = configs.seeds(config.seeds)
        if len(classes) * len(seeds) < 2:
            raise InputError("classes and seeds make a single sample; give two classes or seeds, or more")
        return Request(
            config=config,
            options=options,
            what=what,
            data=Data.find(config.data),
            n=configs.whole(config, "n", least=2),
            classes=classes,
            seeds=seeds,
            systems=systems,
            steps=None if config.steps is None else configs.whole(config, "steps", least=1),
            batch_size=configs.whole(config, "batch_size", least=1),
            device=read_device(str(config.device)),
            out=Path(str(config.out or Path("outputs") / f"evaluate-{what}")).expanduser(),
        )

    def settings(self) -> dict[str, Any]:
        """All that decides the figures, by dotted key."""
        return {key: value for key, value in configs.leaves(self.config).items() if key not in FREE_KEYS}

    def choose_prior(self, model: PPGN, sampler: Sampler) -> str:
        """The prior asked for, or the one that suits the sampler best."""
        name = self.config.prior
        return model.choose_prior(None if name is None else str(name), sampler)

    def load_model(self) -> PPGN:
        """The model asked for, on the device asked for."""
        return ppgn.model.load(str(self.config.model), self.device)


@dataclass(frozen=True)
class Data:
    """Photographs below a folder: sets `val_images.npy`, uint8 (N, S, S, 3), or else picture files."""

    folder: Path
    arrays: tuple[np.ndarray, ...]
    files: tuple[Path, ...]

    @staticmethod
    def find(root: str | None) -> Data:
        """What there is, sorted by path. Raises `InputError` where there is nothing, or not what it should be."""
        if root is None:
            raise InputError("data is missing: add data=FOLDER, with val_images.npy or pictures in it")
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise InputError(f"no data folder '{folder}'; give one with val_images.npy or pictures: data=FOLDER")
        arrays = tuple(_array(path) for path in sorted(folder.rglob("val_images.npy")))
        suffixes = Image.registered_extensions().keys()
        found = () if arrays else sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        if not arrays and not found:
            raise InputError(f"data: no val_images.npy and no pictures in '{folder}'; give another data=FOLDER")
        return Data(folder, arrays, tuple(found))

    def __len__(self) -> int:
        return sum(map(len, self.arrays)) + len(self.files)

    def spread(self, count: int, side: int) -> Tensor:
        """`count` pictures spread evenly over all there are, the same every time, uint8 (count, 3, side, side)."""
        if count > len(self):
            raise InputError(f"data: {count} pictures needed, '{self.folder}' has {len(self)}; give a smaller n")
        rows = np.linspace(0, len(self) - 1, count).astype(int).tolist()
        return torch.cat([reduce(self._picture(row), side) for row in rows])

    def classes(self, count: int) -> tuple[int, ...] | None:
        """ImageNet's index of each of the pictures that `spread` gives; None where one of them is of no such class.

        Read from `val_labels.npy` and `classes.json` (a list of {"imagenet_index": ...}) beside `val_images.npy`.
        """
        known: list[int | None] = [None] * len(self.files)
        for array in reversed(self.arrays):
            known = [*_imagenet_classes(Path(str(cast(Any, array).filename)).parent, len(array)), *known]
        chosen = [known[row] for row in np.linspace(0, len(self) - 1, count).astype(int)]
        return None if None in chosen else tuple(cast("list[int]", chosen))

    def _picture(self, row: int) -> Tensor:
        """Number `row`, uint8 (1, 3, H, W)."""
        for array in self.arrays:
            if row < len(array):
                return torch.from_numpy(array[row].copy()).permute(2, 0, 1)[None]
            row -= len(array)
        return images.to_uint8(images.read(self.files[row]))[None]


def _imagenet_classes(folder: Path, count: int) -> list[int | None]:
    """ImageNet's index of every picture of a set, None where it is not told."""
    try:
        classes = json.loads((folder / "classes.json").read_text())
        return [classes[label].get("imagenet_index") for label in np.load(folder / "val_labels.npy")]
    except (OSError, ValueError, IndexError, AttributeError):
        return [None] * count


def _array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"data: cannot read {path} ({str(error).splitlines()[0]}); store it anew") from error
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise InputError(f"data: {path} holds {array.dtype} {array.shape}; expected uint8 (N, S, S, 3)")
    return array


def reduce(pictures: Tensor, side: int) -> Tensor:
    """Pictures (N, 3, H, W), uint8 or float, cropped to a square and resized -> uint8 (N, 3, side, side)."""
    if pictures.shape[-2:] == (side, side):
        return images.to_uint8(pictures)
    fitted = [images.fit(image.float() / 255, (side, side)) for image in images.to_uint8(pictures)]
    return torch.stack([images.to_uint8(image) for image in fitted])


class Report:
    """The rows measured so far, written as evaluation.json after each, with grid.png for those that have pictures."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.rows: dict[str, dict[str, Any]] = {}
        self.table: dict[str, Figures] = {}

    def add(self, name: str, figures: Figures, **facts: Any) -> None:
        """Take a row of figures, None for what cannot be measured, with further `facts`, and write all files."""
        self.table[name] = figures
        self.rows[name] = {key: _to_json(estimate) for key, estimate in figures.items()} | facts
        head = {
            "what": self.request.what,
            "model": str(self.request.config.model),
            "data": str(self.request.data.folder),
            "device": str(self.request.device),
            "settings": self.request.settings(),
            "versions": {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()},
            "interval": bootstrap.LEVEL,
        }
        text = json.dumps(head | {"rows": self.rows}, ensure_ascii=False, indent=2, allow_nan=False)
        paths.write(self.request.out / "evaluation.json", text + "\n")

    def __str__(self) -> str:
        """An aligned table, intervals in brackets."""
        columns = list(dict.fromkeys(key for figures in self.table.values() for key in figures))
        lines = [["", *columns]]
        for name, figures in self.table.items():
            lines.append([name, *(_cell(figures.get(column)) for column in columns)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )


def _to_json(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {key: end if end is not None and math.isfinite(end) else None for key, end in asdict(estimate).items()}


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    digits = 1 if abs(estimate.value) >= 10 else 3
    value = f"{estimate.value:.{digits}f}"
    return value if estimate.low is None else f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def main(words: Sequence[str]) -> int:
    """Run `ppgn evaluate` with `words`, key=value each -> exit status 0. What can be refused is refused at once."""
    request = Request.read(words)
    report = Report(request)
    paths.check_writable(request.out, 50_000_000)
    with enough_memory(request.device, request.batch_size):
        WHAT[request.what](request, report)
    print(f"{report}\n-> {request.out}")
    return 0


def _progress(request: Request, total: int, unit: str) -> tqdm[NoReturn]:
    return tqdm(total=total, desc=request.what, unit=unit, mininterval=0.1 if sys.stderr.isatty() else 2.0)


def _side(model: PPGN) -> int:
    """At what size a model's pictures are judged."""
    return min(SIDE, *cast(Generator, model.generator).image_shape[1:])


def reconstruction(request: Request, report: Report) -> None:
    """How much of a photograph is left after E and G, beside photographs blurred through fewer pixels.

    Of 2n photographs every second is an original, those between are the other real ones that KID compares with.
    """
    model = request.load_model()
    if model.encoder is None:
        raise InputError(f"model {request.config.model} has no encoder, so it cannot reconstruct; give another model")
    pictures = request.data.spread(2 * request.n, _side(model))
    originals, others = pictures[::2], pictures[1::2]
    features = fidelity.Features(request.batch_size).to(request.device)
    blurs = [pixels for pixels in BLURS if pixels < _side(model)]
    with _progress(request, 4 + len(blurs), "set") as bar:
        of_originals, of_others = features(originals), features(others)
        codes = _encode(model, originals, request.batch_size)
        bar.update(2)

        def compare(name: str, pictures: Tensor) -> None:
            of_pictures = features(pictures)
            cosine = F.cosine_similarity(_encode(model, pictures, request.batch_size), codes)
            figures = {
                "frechet": Estimate(fidelity.frechet_distance(of_pictures, of_originals)),
                "kid": fidelity.kid(of_pictures, of_others),
                "psnr": bootstrap.mean(fidelity.psnr(pictures, originals)),
                "cosine": bootstrap.mean(cosine),
            }
            report.add(name, figures)
            bar.update()

        drawn = torch.cat([model.decode(part).cpu() for part in codes.split(request.batch_size)])
        drawn = reduce(drawn, _side(model))
        compare("reconstruction", drawn)
        shown = torch.cat([originals[:: math.ceil(request.n / SHOWN)], drawn[:: math.ceil(request.n / SHOWN)]])
        images.write(request.out / "grid.png", images.grid(shown, columns=len(shown) // 2))
        real = {
            "frechet": Estimate(fidelity.frechet_distance(of_others, of_originals)),
            "kid": fidelity.kid(of_originals, of_others),
        }
        report.add("other real", real)
        bar.update()
        for pixels in blurs:
            compare(f"blur {pixels} px", blur(originals, pixels))


def _encode(model: PPGN, pictures: Tensor, batch_size: int) -> Tensor:
    """Codes of uint8 pictures, flat, (N, D) on the CPU."""
    parts = [model.encode(part.to(model.device).float() / 255).flatten(1).cpu() for part in pictures.split(batch_size)]
    return torch.cat(parts)


def blur(pictures: Tensor, pixels: int) -> Tensor:
    """uint8 pictures (N, 3, H, W) reduced to `pixels` a side (bicubic, antialiased) and enlarged again (bicubic)."""
    small = F.interpolate(pictures.float() / 255, (pixels, pixels), mode="bicubic", antialias=True)
    return images.to_uint8(F.interpolate(small.clamp(0, 1), pictures.shape[-2:], mode="bicubic"))


@dataclass(frozen=True)
class System:
    """One way to draw samples; without a `sampler` the start codes are drawn as they are."""

    model: PPGN
    sampler: Sampler | None
    prior: str
    init: Tensor | None = None  # (seeds, *code_shape)

    def draw(
        self, number: int, condition: Condition, request: Request, advance: Callable[..., None]
    ) -> tuple[Tensor, int]:
        """One picture for each seed of class `number`, and how many chains failed; `advance` follows every step.

        Chains of all classes start from the same codes. Codes that are drawn as they are differ from class to class:
        KID takes pictures for independent.
        """
        if self.sampler is None:
            shape = cast(Generator, self.model.generator).code_shape
            codes = Noise(request.seeds).normal(f"init {number}", shape).split(request.batch_size)
            return images.to_uint8(torch.cat([self.model.decode(part).cpu() for part in codes])), 0
        samples = self.model.sample(
            condition,
            request.seeds,
            sampler=self.sampler,
            prior=self.prior,
            steps=request.steps,
            init=self.init,
            batch_size=request.batch_size,
            callback=advance,
        )
        return samples.images, len(samples.failed)


def _default(request: Request, model: PPGN) -> System:
    sampler: Sampler = configs.build(request.config.sampler)
    return System(model, sampler, request.choose_prior(model, sampler))


def _white_noise(request: Request, model: PPGN) -> System:
    return replace(_default(request, model), sampler=None)


def _dgn_am(request: Request, model: PPGN) -> System:
    """The condition alone pulls, without prior and noise: activation maximisation in code space (DGN-AM)."""
    return replace(_default(request, model), sampler=presets.ppgn(epsilon1=0.0, epsilon3=0.0))


def _pixels(request: Request, model: PPGN) -> System:
    """Gradient ascent on the pixels themselves, from grey with a little noise, seen through jittered views."""
    shape = (3, _side(model), _side(model))
    steps = request.steps or configs.build(request.config.sampler).steps
    sampler = presets.ppgn(epsilon1=0.0, epsilon2=PIXEL_STEP, epsilon3=0.0, clip=(0.0, 1.0), steps=steps)
    start = 0.5 + 0.01 * Noise(request.seeds).normal("init", shape)
    return System(PPGN(Identity(shape)).to(request.device), sampler, "gaussian", start)


SYSTEMS: dict[str, Callable[[Request, PPGN], System]] = {
    "default": _default,
    "white_noise": _white_noise,
    "dgn_am": _dgn_am,
    "pixels": _pixels,
}


def samples(request: Request, report: Report) -> None:
    """Samples of every class from every seed by each system, judged alike: see `_Judges`."""
    model = request.load_model()
    systems = {name: SYSTEMS[name](request, model) for name in request.systems}
    conditions = build_conditions(request.config.condition, request.classes, request.device, torch.float32)
    side = _side(model)
    judges = _Judges(request, conditions, request.data.spread(request.n, side))
    for name, system in systems.items():
        started, drawn, failed = time.perf_counter(), [], 0
        steps = (request.steps or system.sampler.steps) if system.sampler else 0
        total = steps * math.ceil(len(request.seeds) / request.batch_size) * len(conditions)
        with _progress(request, total, "step") as bar:
            bar.set_postfix_str(name)
            for number, condition in enumerate(conditions):
                pictures, more = system.draw(number, condition, request, lambda *_, bar=bar: _advance(bar))
                drawn.append(reduce(pictures, side))
                failed += more
        seconds = (time.perf_counter() - started) / (len(conditions) * len(request.seeds))
        report.add(name, judges(drawn) | {"seconds": Estimate(seconds)}, failed=failed)
        grid = torch.cat([pictures[:SHOWN] for pictures in drawn])
        images.write(request.out / f"grid_{name}.png", images.grid(grid, columns=min(SHOWN, len(request.seeds))))


def _advance(bar: tqdm[NoReturn]) -> None:
    bar.update()  # its answer must not reach the chain, which would stop


class _Judges:
    """What is said of samples: p(target) by the condition, top-1 and top-5 by a classifier that took no part (where it
    knows the condition's classes), KID to real pictures, mean cosine distance within and between classes.

    Intervals are over classes: a resample draws whole classes with all their samples.
    """

    def __init__(self, request: Request, conditions: Sequence[Condition], real: Tensor) -> None:
        self.conditions = conditions
        self.judge = accuracy.Judge(request.batch_size).to(request.device)
        self.features = fidelity.Features(request.batch_size).to(request.device)
        self.real = self.features(real)
        self.weights = bootstrap.draws(len(conditions))

    def __call__(self, drawn: Sequence[Tensor]) -> dict[str, Estimate | None]:
        """Pictures of each class, uint8 (seeds, 3, H, W) -> figures."""
        every, seeds = torch.cat(list(drawn)), len(drawn[0])
        features, classes = self.features(every), [c for c in range(len(drawn)) for _ in range(seeds)]
        said = [describe(condition, pictures) for condition, pictures in zip(self.conditions, drawn, strict=True)]
        p = [[row.get("prob", math.exp(row["log_prob"])) for row in rows] for rows in said]
        figures = {
            "p": self._mean(torch.tensor(p).mean(1)),
            "top1": None,
            "top5": None,
            "kid": fidelity.kid(features, self.real, self.weights.repeat_interleave(seeds, dim=1)),
            "within": self._mean(diversity.within_class(features, classes)) if seeds > 1 else None,
            "between": self._mean(diversity.between_classes(features, classes)) if len(drawn) > 1 else None,
        }
        if self._knows_classes():
            logits = self.judge(every)
            index = torch.tensor([cast(Any, condition).index for condition in self.conditions])
            for k in (1, 5):
                hits = accuracy.top_k(logits, index.repeat_interleave(seeds), k)
                figures[f"top{k}"] = self._mean(hits.double().view(-1, seeds).mean(1))
        return figures

    def _mean(self, of_classes: Tensor) -> Estimate:
        return bootstrap.mean(of_classes, self.weights)

    def _knows_classes(self) -> bool:
        """Whether the judge's classes are the condition's."""
        network = getattr(self.conditions[0], "network", None)
        return network is not None and network.labels == self.judge.labels


class _RowByRow(BaseCondition):
    """A condition of its own for every row of a batch; views of a batch come one whole batch after another."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        super().__init__()
        self.conditions = list(conditions)

    def forward(self, x: Tensor) -> Tensor:
        """(V · B, 3, H, W) -> (V · B,)."""
        count = len(self.conditions)
        return torch.stack([c(x[row::count]) for row, c in enumerate(self.conditions)], dim=1).flatten()


Way = Callable[[Tensor, Tensor, Callable[..., None]], Tensor]  # pictures, holes, what follows every step -> pictures


class _Completer:
    """Fills holes with chains, one for each photo: of `ppgn inpaint`, without and with the photo's class, and of the
    published procedure with it (without its clip: codes that are whitened are negative too).
    """

    def __init__(self, request: Request, model: PPGN, classes: Sequence[int] | None) -> None:
        self.request, self.model = request, model
        self.conditions: list[Condition] = []
        if classes is not None:
            place = request.device, torch.float32
            self.conditions = build_conditions(request.config.condition, classes, *place)
            truncated = OmegaConf.merge(request.config.condition, {"gradient": "truncated"})
            self.published = build_conditions(cast(DictConfig, truncated), classes, *place)
        self.sampler = presets.ppgn(epsilon1=0.02)  # as `ppgn inpaint` does
        self.likelihood = inpaint.likelihood(request.config.context)

    def ways(self) -> dict[str, Way]:
        """Ways to fill pictures with holes, by name."""
        every: dict[str, Way] = {"context": partial(self._fill, self.sampler, self.likelihood, KEEP, [])}
        if self.conditions:
            released = presets.released(steps=20, lr_end=1e-32, epsilon3=0.0, clip=None)
            every["class"] = partial(self._fill, self.sampler, self.likelihood, KEEP, self.conditions)
            every["released"] = partial(self._fill, released, Context.released, 1.0, self.published)
        return every

    def _fill(
        self,
        sampler: Sampler,
        context: Callable[[Tensor, Tensor], Context],
        keep: float,
        conditions: Sequence[Condition],
        pictures: Tensor,
        holes: Tensor,
        advance: Callable[..., None],
    ) -> Tensor:
        """Pictures uint8 (N, 3, H, W) with holes (N, H, W) -> the same, completed."""
        size, seed, completed = inpainting.size_of(self.model), self.request.seeds[0], []
        for rows in torch.arange(len(pictures)).split(self.request.batch_size):
            problems = [Problem.of(pictures[row], holes[row], size) for row in rows.tolist()]
            done = inpainting.complete(
                self.model,
                problems,
                [seed] * len(problems),
                sampler=sampler,
                condition=_RowByRow([conditions[row] for row in rows.tolist()]) if conditions else None,
                context=context,
                fill="mean" if keep == 1 else "harmonic",
                keep=keep,
                prior=self.request.choose_prior(self.model, sampler),
                steps=self.request.steps,
                callback=advance,
            )
            completed += [problem.complete(drawn) for problem, drawn in zip(problems, done.drawn, strict=True)]
        return torch.stack(completed)


def filling(request: Request, report: Report) -> None:
    """Holes in photographs filled by chains, from one seed, and by classical means, all judged alike.

    Intervals are over photographs. Figures: PSNR inside the hole, cosine distance of features to the original's, and
    where the photographs' classes are known top-1 and top-5 of the judge, seconds for each photograph.
    """
    fills.check_libraries()
    model = request.load_model()
    if model.encoder is None:
        raise InputError(f"model {request.config.model} has no encoder, so it cannot inpaint; give another model")
    originals, classes = request.data.spread(request.n, _side(model)), request.data.classes(request.n)
    completer = _Completer(request, model, classes)
    judge = accuracy.Judge(request.batch_size).to(request.device)
    features = fidelity.Features(request.batch_size).to(request.device)
    of_originals = features(originals)
    report.add("original", _recognised(judge, originals, classes))
    for mask in HOLES:
        holes = torch.stack([inpaint.read_hole(mask, Path(str(row)), p, None) for row, p in enumerate(originals)])
        shown = [originals, torch.where(holes[:, None], inpaint.GREY, originals)]
        ways: dict[str, Way] = {name: partial(_classical, name) for name in fills.FILLS}
        for name, way in (ways | completer.ways()).items():
            started = time.perf_counter()
            with _progress(request, 0, "step") as bar:
                bar.set_postfix_str(f"{mask} {name}")
                completed = way(originals, holes, lambda *_, bar=bar: _advance(bar))
            seconds = (time.perf_counter() - started) / request.n
            figures = {
                "psnr": bootstrap.mean(fills.psnr(completed, originals, holes)),
                "distance": bootstrap.mean(fills.feature_distance(features(completed), of_originals)),
                **_recognised(judge, completed, classes),
                "seconds": Estimate(seconds),
            }
            report.add(f"{mask} {name}", figures)
            shown.append(completed)
            rows = torch.stack([pictures[:SHOWN] for pictures in shown], dim=1)
            images.write(request.out / f"grid_{mask}.png", images.grid(rows.flatten(0, 1), columns=len(shown)))


def _classical(name: str, pictures: Tensor, holes: Tensor, advance: Callable[..., None]) -> Tensor:
    return fills.fill(pictures, holes, name)


def _recognised(judge: accuracy.Judge, pictures: Tensor, classes: Sequence[int] | None) -> dict[str, Estimate | None]:
    """Top-1 and top-5 of the judge where the classes are known."""
    if classes is None:
        return {"top1": None, "top5": None}
    logits = judge(pictures)
    return {f"top{k}": bootstrap.mean(accuracy.top_k(logits, classes, k).double()) for k in (1, 5)}


WHAT: dict[str, Callable[[Request, Report], None]] = {
    "reconstruction": reconstruction,
    "samples": samples,
    "inpainting": filling,
}
