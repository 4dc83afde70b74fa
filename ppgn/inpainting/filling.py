"""`inpaint`: photographs without their holes, a chain for every photo and seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import ppgn.model
from ppgn import arguments, folders, paths
from ppgn.conditions import words
from ppgn.contracts import Condition, Generator, Medium, Samples
from ppgn.drawn import describe
from ppgn.engines.threads import at_once, dealt, side_by_side
from ppgn.inpainting.completion import complete, size_of
from ppgn.inpainting.photos import Photo, photos
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.results import FILES, Results, bar
from ppgn.inpainting.settings import Settings
from ppgn.media import images, medium
from ppgn.progress import say
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.chains import Callback
from ppgn.sampling import enough_memory
from ppgn.settings import as_config, called

ALONE = "imagenet"  # the condition that asks for nothing where there is no target


@folders.results(*FILES)
def inpaint(
    # -- what to fill --
    image: Any,  # a photo of any size, or a folder of them
    *,
    # where: center, half as wide and high as the photo; random or random-N, a square somewhere, the same every time;
    # rows:A-B or columns:A-B, from edge to edge; alpha, what is transparent; a mask file of the photo's size, white is
    # the hole; a folder of masks named as the photos are
    hole: Any = "center",
    target: Any = None,  # what the condition asks for; null: what is known of the photo decides alone
    condition: Any = "imagenet",  # the network that judges, or several: "imagenet:castle & 0.5*places:mountain"
    # -- how the chains walk --
    seeds: Any = "0-3",  # completions of each photo: 0-15, [1,4,9], 3 or 0-3,8,10-12
    model: Any = "natural64",  # the generator: a name that `ppgn models` lists or a path to a .safetensors file
    prior: Any = None,  # what keeps the hole natural (bank, mixture, joint, dae, gaussian); null suits the sampler
    # the kernel; null is what suits. anchored starts at the codes of photographs that go with the rest of the photo and
    # the target; annealed suits a prior without anchors. Filling a hole changes what is not set: anchored has
    # spread=0.27; annealed takes 30 steps from sigma_max=2.5 with epsilon2=2.5; both epsilon2=0.5 without a target;
    # ppgn epsilon1=0.02; released is the published procedure
    sampler: Any = None,
    steps: int | None = None,  # null is the sampler's own number
    # share of the filled photo's code in the start code, 0 to 1, the rest is noise; null is 1, with sampler=ppgn 0.5;
    # nothing to sampler=anchored
    keep: float | None = None,
    fill: str | None = None,  # of the hole that the encoder sees at the start: harmonic or mean; null suits the sampler
    # log p of the known pixels: context.likelihood=gaussian or laplace, context.std=0.1, context.weight=1.0, with
    # sampler=ppgn, mala or dgn_am 10; context.imputations=32: draws from the prior put into the hole to find out what
    # the rest of the photo says of its code, 0 for none; with sampler=annealed. context.drawings=1024: drawings of the
    # bank that sampler=anchored learns the same from, kept in the cache; context.candidates=0.033: share of the bank
    # that the rest of the photo leaves in effect, at least; 0, which suits speech, takes the rest at its word
    context: Mapping[str, Any] | None = None,
    trust: Any = (),  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    # -- on which machine --
    batch_size: int = 8,  # chains walked together
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Completed:
    """Fill a hole in each photo by one Markov chain a seed -> `Completed`; pixels outside the hole stay as they are.

    image: a file, a folder, a Pillow picture, a tensor (3, H, W), uint8 or in [0, 1], or a list of these. hole: also a
        tensor (H, W), True where it is. sampler: an object is taken as it is. out: files are written there after every
        photo; without it nothing is written until `Completed.save`. progress: a bar on stderr. The others are as in
        `ppgn.sampling.sample`, and `ppgn.inpainting.settings.Settings` tells what is changed for a hole.

    Raises `InputError` for what cannot be used, every photo and hole included, before anything is drawn.
    Source: PPGN (arXiv 1612.00005), section 3.6 and Eq. 12; blending: Pérez, Gangnet & Blake 2003.
    """
    given, started = dict(locals()), time.perf_counter()
    if callable(target):
        target, condition = None, target
    wanted = arguments.target(target, "a hole is filled with one target")
    asked = wanted is not None or condition != ALONE
    options: dict[str, Any] = {"asked": asked, "steps": steps, "keep": keep, "fill": fill, "context": context}
    Settings.of(ppgn.model.named(sampler, "anchored"), **options)  # refuses what cannot be
    where, chains = arguments.device(device), arguments.seeds(seeds)
    size = arguments.whole("batch_size", batch_size)
    net = ppgn.model.load(model, where, trust)
    kind = medium.of(cast(Generator, net.generator))
    taken = photos(image, getattr(kind, "read", None))
    folder = folders.of(out)
    if folder is not None:
        paths.check_writable(folder, 4 * sum(photo.pixels[0].numel() for photo in taken) * len(chains) + folders.LEAST)
    holes = [photo.hole(hole) for photo in taken]
    for photo, place in zip(taken, holes, strict=True):
        Problem.of(photo.pixels, place, (1, 1))  # refuses what cannot be
    made = words.conditions(condition, [wanted], device=where, dtype=torch.float32)[0] if asked else None
    sampler = net.suited(sampler, prior, own=False)
    settings = Settings.of(sampler, **options)
    resolution, chosen = size_of(net), net.choose_prior(prior, settings.sampler)
    config = as_config(given, net, settings.sampler, chosen, sampler, condition)
    config |= _settled(settings, taken, config["target"] if asked else None)
    about = {"condition": config["condition"]["expression"] if asked else None}
    about |= {key: config[key] for key in ("target", "model", "prior")}
    about |= {"sampler": called("sampler", sampler), "steps": settings.sampler.steps, "mask": config["hole"]}
    completed = Completed(settings, made, kind, folder, config, about, chains, started)
    threads = at_once(model, where, len(chains), target, condition)
    batches = dealt(chains, size, threads)
    total = len(taken) * (len(batches) * settings.sampler.steps + len(chains))
    if isinstance(settings.sampler, Anchored):
        say(f"learning from {settings.drawings:,} drawings what the rest of a photo says", shown=progress)
    with (
        enough_memory(where, size),
        bar(progress, total, "inpaint") as advance,
        side_by_side((net, made, chosen), threads, advance) as each,
    ):
        for photo, place in zip(taken, holes, strict=True):
            problem = Problem.of(photo.pixels, place, resolution)
            parts = each(partial(_walk, problem=problem, settings=settings), batches)
            completed.take(photo, problem, Samples.concatenate(parts), advance)
    return completed


def _walk(held: Any, seeds: Sequence[int], callback: Callback, problem: Problem, settings: Settings) -> Samples:
    """A chain for each of the seeds. held: the model, the condition if there is one, and the prior."""
    model, condition, prior = held
    options: Any = {"condition": condition, "prior": prior, "callback": callback}
    return complete(model, [problem] * len(seeds), seeds, settings, **options)


def _settled(settings: Settings, taken: Sequence[Photo], target: Any) -> dict[str, Any]:
    """What config.yaml tells of an inpainting beside the words that were given."""
    told = {
        key: getattr(settings, key) for key in ("likelihood", "std", "weight", "imputations", "drawings", "candidates")
    }
    files = [photo.file for photo in taken]
    return {"image": files, "target": target, "keep": settings.keep, "fill": settings.fill, "context": told}


class Completed(Results):
    """The photos filled so far, the pictures' `scores`, and of each photo in `rows` its completions, the best first.

    A score is log p of the known pixels plus, if there is one, the condition's log p(y | x), both at the generator's
    size. Files are called PHOTO-seed-K-completed.png; a row of grid.png is a photo, its hole and its completions.
    """

    noun = "completions"

    def __init__(self, settings: Settings, condition: Condition | None, medium: Medium, *given: Any) -> None:
        super().__init__(*given)
        self.settings, self.condition, self.medium = settings, condition, medium
        self.scores: list[float] = []

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, best score {max(self.scores, default=math.nan):.3g})"

    def take(self, photo: Photo, problem: Problem, samples: Samples, advance: Callable[[], Any]) -> None:
        """Take all completions of a photo; `advance` is called with each of them."""
        said = self._say(problem, samples.signals)
        files = [f"{photo.stem}-seed-{seed}-completed.png" for seed in self.seeds]
        pictures = []
        for file, drawn in zip(files, samples.signals, strict=True):
            pictures.append(problem.complete(drawn))
            self.keep(file, pictures[-1])
            if self.folder is not None and getattr(self.medium, "heard", False):
                self.medium.write(self.folder / Path(file).stem, pictures[-1][:1])
            advance()
        best = sorted(range(len(said)), key=lambda row: -said[row]["score"])
        told = [
            {"seed": self.seeds[row], "rank": rank, "file": files[row], "failed": self.seeds[row] in samples.failed}
            | {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in said[row].items()}
            for rank, row in enumerate(best, 1)
        ]
        self.scores += [row["score"] for row in said]
        (height, width), region = problem.hole.shape, problem.region
        row = {"image": photo.file, "size": [width, height], "hole": round(problem.hole.double().mean().item(), 4)}
        row |= {"region": [region.left, region.top, region.side], "completions": told}
        self.add(row, samples, [problem.photo, problem.shown, *(pictures[row] for row in best)])

    def _say(self, problem: Problem, drawn: Tensor) -> list[dict[str, Any]]:
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
