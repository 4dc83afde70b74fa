"""Photographs edited towards a class near their own, by chains and by simpler means."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppgn import folders
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition, Samples
from ppgn.editing.canvas import Canvas
from ppgn.editing.walk import Settings, walk
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel, classes_of, recognition
from ppgn.evaluation.sources import Drawn, bar
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.generators.identity import Identity
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.model import PPGN
from ppgn.networks import labels
from ppgn.samplers.chains import run_chains
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.sampling import walker_of

# ImageNet classes that Tiny ImageNet has too, and one near each.
NEAR = {
    "bullfrog": "tailed frog", "boa constrictor": "American alligator", "scorpion": "tarantula",
    "black widow": "tarantula", "goose": "albatross", "albatross": "goose", "koala": "brown bear", "snail": "slug",
    "slug": "snail", "American lobster": "spiny lobster", "Chihuahua": "Yorkshire terrier",
    "golden retriever": "German shepherd", "Labrador retriever": "golden retriever",
    "German shepherd": "golden retriever", "tabby": "Persian cat", "Persian cat": "tabby", "Egyptian cat": "tabby",
    "cougar": "lion", "lion": "cougar", "ladybug": "bee", "fly": "bee", "grasshopper": "mantis",
    "monarch": "sulphur butterfly", "sulphur butterfly": "monarch", "ox": "bison", "bison": "ox", "gazelle": "bighorn",
    "bighorn": "gazelle", "orangutan": "chimpanzee", "chimpanzee": "orangutan", "convertible": "sports car",
    "sports car": "beach wagon", "beach wagon": "limousine", "school bus": "trolleybus", "trolleybus": "school bus",
    "moving van": "police van", "suspension bridge": "steel arch bridge", "steel arch bridge": "viaduct",
    "obelisk": "water tower", "beacon": "water tower", "teapot": "water jug", "orange": "lemon", "lemon": "orange",
    "pizza": "potpie", "alp": "cliff", "lakeside": "seashore", "beer bottle": "pop bottle", "mushroom": "cauliflower",
    "coral reef": "brain coral", "ice cream": "ice lolly",
}  # fmt: skip
OTHERS = 10  # photographs for each that is edited, which KID compares with
STRENGTH = 0.5  # of chains that start from the photo and may go where they like
PIXEL_STEP = 0.005  # RMS change of a pixel in a step of gradient ascent on pixels
SHOWN = 12  # photographs in a grid
FIGURES = ("p", "judge_p", "top1", "top5", "psnr", "distance", "kid", "seconds")


@folders.results(*FILES)
def edits(
    model: Any = "natural64",
    data: Any = None,
    *,
    n: int = 100,  # how many photographs are edited; up to ten times as many are compared with
    pairs: Mapping[str, str] | None = None,  # the photographs' classes and what each becomes; by default 50 near ones
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    seeds: Any = "0",  # that of all chains
    sampler: Any = "annealed",  # the kernel and its settings; what is not set is as `ppgn edit` has it
    near: Mapping[str, Any] | None = None,  # how near a chain stays: spread, pixels, features
    **options: Any,  # the fields of Task
) -> Table:
    """Photographs edited towards a class near their own: how often that is seen, and how much of the photo is left.

    Ways: "edit", as `ppgn edit` does; "pixels", gradient ascent on the pixels in as many steps; "strength", chains of
    `ppgn sample` from the photo with strength=0.5. Rows have p of the class by the condition; by a judge that took no
    part p, top-1 and top-5; the PSNR to the photograph in dB (mean), the cosine distance of features, KID to other
    photographs; seconds for an edit. Intervals are over photographs. Raises `InputError`.
    """
    task = Task(model=model, data=data, n=n, seeds=seeds, sampler=sampler, **options)
    pairs = dict(NEAR if pairs is None else pairs)
    table = task.begin("edits", pairs=pairs, judge=judge, near=near)
    settings, seed = Settings.of(task.sampler, steps=task.steps, near=near), task.seed_list[0]
    drawer, classifier = task.load(encoder=True), task.classifier(judge)
    apart = min(OTHERS * n, len(task.photographs) // 2)
    originals, targets = photographs(task, pairs, task.side(drawer), apart)
    conditions = task.conditions(targets)
    known = classes_of(classifier, conditions)
    panel = Panel(conditions, recognition(classifier, known), task.features(), task.spread(apart, drawer))
    ways = Ways(drawer, settings, task.prior, seed)
    original = Drawn(originals, torch.arange(n))
    shown = [originals]

    def add(name: str, drawn: Drawn, **values: Tensor) -> None:
        if known is not None:
            p = classifier(drawn.pictures).softmax(1).double()
            values["judge_p"] = p[torch.arange(n), torch.tensor(known)]
        panel.add(table, name, drawn, FIGURES, values=values)

    add("photos", original)
    for way in (ways.edit, ways.pixels, ways.strength):
        started, parts, name = time.perf_counter(), [], way.__name__
        with bar(task.progress, 0, name, "step") as steps:
            for rows in torch.arange(n).split(task.batch_size):
                image = originals[rows].to(drawer.device).float() / 255
                some = [conditions[row] for row in rows.tolist()]
                parts.append(way(image, some, lambda *_, steps=steps: steps.update() and None).images)
        seconds = torch.full((n,), (time.perf_counter() - started) / n)
        shown.append(torch.cat(parts))
        grid = torch.stack([some[:: math.ceil(n / SHOWN)] for some in shown], dim=1).flatten(0, 1)
        table.grids["grid"] = images.grid(grid, columns=len(shown))
        drawn = replace(original, pictures=shown[-1], seconds=seconds, beside=originals)
        add(name, drawn, psnr=fidelity.psnr(drawn.pictures, originals))
    return table


def photographs(task: Task, pairs: Mapping[str, str], side: int, apart: int) -> tuple[Tensor, list[str]]:
    """`task.n` photographs, uint8 (n, 3, side, side), of the classes in turn, and what each is to become.

    None of them is among those that `spread(apart, side)` gives. Raises `InputError` where the data do not tell
    ImageNet's classes, or have too few photographs of one.
    """
    names = labels.imagenet()
    index = {name: labels.find(names, name) for name in pairs}
    each = math.ceil(task.n / len(pairs))
    found = task.photographs.of_classes(list(index.values()), each, side, apart=apart)
    missing = [name for name, number in index.items() if number not in found]
    if missing:
        raise InputError(f"data: fewer than {each} photographs of '{missing[0]}'; give others, pairs=, or a smaller n")
    rows = [(found[index[name]][place], target) for place in range(each) for name, target in pairs.items()]
    pictures, targets = zip(*rows[: task.n], strict=True)
    return torch.stack(pictures), list(targets)


@dataclass(frozen=True)
class Ways:
    """Ways to edit photographs (B, 3, S, S) in [0, 1], each towards a condition of its own, by chains of one seed."""

    model: PPGN
    settings: Settings
    prior: Any
    seed: int

    def edit(self, image: Tensor, conditions: Sequence[Condition], advance: Callable[..., None]) -> Samples:
        """As `ppgn edit` does."""
        canvases = [Canvas.of(images.to_uint8(one).cpu(), None, image.shape[2:]) for one in image]
        return walk(self.model, canvases, [self.seed] * len(canvases), each_row(conditions), self.settings, advance)

    def pixels(self, image: Tensor, conditions: Sequence[Condition], advance: Callable[..., None]) -> Samples:
        """By gradient ascent on the pixels."""
        steps = self.settings.sampler.steps
        model = PPGN(Identity(image.shape[1:])).to(image.device)
        sampler = Langevin(epsilon1=0.0, epsilon2=PIXEL_STEP, epsilon3=0.0, clip=(0.0, 1.0), steps=steps)
        (target,) = model.targets([each_row(conditions)], sampler, "gaussian")
        noise = Noise([self.seed] * len(image), image.device)
        return run_chains([target], sampler, noise, init=image, callback=advance)

    def strength(self, image: Tensor, conditions: Sequence[Condition], advance: Callable[..., None]) -> Samples:
        """As `ppgn sample` does from the photo, by chains that may go where they like."""
        sampler = walker_of("annealed", None, STRENGTH)
        (target,) = self.model.targets([each_row(conditions)], sampler, self.prior)
        noise = Noise([self.seed] * len(image), self.model.device, self.model.dtype)
        return run_chains([target], sampler, noise, init=self.model.encode(image), callback=advance)
