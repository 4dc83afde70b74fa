"""Holes in photographs, filled by chains and by classical means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppgn import folders
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition
from ppgn.errors import check_known
from ppgn.evaluation.judges import Panel, recognition
from ppgn.evaluation.sources import Drawn, bar
from ppgn.evaluation.table import FILES, Table, plain
from ppgn.evaluation.task import Task
from ppgn.inpainting.completion import complete, size_of
from ppgn.inpainting.photos import Photo
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.settings import Settings
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.metrics import inpainting as fills
from ppgn.model import PPGN
from ppgn.networks import labels
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed

HOLES = ("center", "random")  # as in `ppgn inpaint`
OTHERS = 10  # photographs for each that is filled, which KID compares with
NONE = 1e-12  # weight of the known pixels where they are to decide nothing
SHOWN, GREY = 8, 128  # photographs in a grid, and the holes in them
FIGURES = ("psnr", "distance", "kid", "top1", "top5", "seconds")

Fill = Callable[[Tensor, Tensor, Callable[..., None]], Tensor]  # pictures, holes, what follows every step -> pictures


@folders.results(*FILES)
def inpainting(
    model: Any = "natural64",
    data: Any = None,
    *,
    n: int = 100,  # how many photographs are filled, spread evenly; up to ten times as many are compared with
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    condition: Any = "imagenet",  # the network that is asked for the class of a photograph, where the data tell it
    holes: Sequence[str] = HOLES,  # as `ppgn inpaint` names them
    systems: Sequence[str] | None = None,  # which ways to fill are compared; null is all
    seeds: Any = "0",  # that of all chains
    sampler: Any = None,  # the kernel and its settings; what is not set is as `ppgn inpaint` has it
    context: Mapping[str, Any] | None = None,  # as in `ppgn inpaint`, and epsilon2 without a class
    **options: Any,  # the fields of Task
) -> Table:
    """Holes in photographs filled by chains, from one seed, and by classical means.

    Chains: of `ppgn inpaint`, without ("context") and with the photograph's class ("class"); where they are annealed,
    also with the class and the known pixels alone ("class_pixels", no imputations) and with neither ("class_alone");
    and of the published procedure without its clip, as whitened codes are negative too.

    Rows have the PSNR in the hole in dB; the cosine distance of features to the original's; KID to other photographs;
    top-1 and top-5 of a judge that took no part, where the classes are known; seconds for a photograph. Intervals are
    over photographs. Raises `InputError`.
    """
    task = Task(model=model, data=data, n=n, condition=condition, seeds=seeds, sampler=sampler, **options)
    table = task.begin("inpainting", judge=judge, context=context, holes=holes, systems=systems)
    drawer = task.load(encoder=True)
    task = replace(task, sampler=drawer.suited(sampler, task.prior, own=False))
    table.about["settings"]["sampler"] = plain(task.sampler)
    ways = [settings(task, asked, context or {}) for asked in (False, True)]
    step = max(2, min(1 + OTHERS, len(task.photographs) // n))
    pictures = task.spread(step * n, drawer)
    originals, others = pictures[::step], pictures[torch.arange(len(pictures)) % step > 0]
    photos = [Photo(str(row), picture) for row, picture in enumerate(originals)]
    cut = {hole: torch.stack([photo.hole(hole) for photo in photos]) for hole in holes}
    if systems is None or not fills.FILLS.keys().isdisjoint(systems):
        fills.check_libraries()
    told = task.photographs.imagenet
    known = [told[row] for row in task.photographs.rows(step * n)]
    classes: Any = [] if None in known else known[::step]
    classifier = task.classifier(judge)
    index = classes if classes and classifier.labels == labels.imagenet() else None
    panel = Panel([], recognition(classifier, index), task.features(), others)
    every: dict[str, Fill] = {name: partial(_classical, name) for name in fills.FILLS}
    every |= chains(task, drawer, task.conditions(classes) if classes else [], *ways)
    for name in systems or ():
        check_known("system", name, every)
    original = Drawn(originals, torch.arange(n))
    panel.add(table, "original", original, ("kid", "top1", "top5"))
    for hole, places in cut.items():
        shown = [originals, torch.where(places[:, None], GREY, originals)]
        for name in systems or every:
            started = time.perf_counter()
            with bar(task.progress, 0, f"{hole} {name}", "step") as advance:
                filled = every[name](originals, places, lambda *_, advance=advance: advance.update() and None)
            seconds = torch.full((n,), (time.perf_counter() - started) / n)
            drawn = replace(original, pictures=filled, seconds=seconds, beside=originals)
            shown.append(filled)
            rows = torch.stack([some[:SHOWN] for some in shown], dim=1).flatten(0, 1)
            table.grids[f"grid_{hole}"] = images.grid(rows, columns=len(shown))
            values = {"psnr": fidelity.psnr(filled, originals, places)}
            panel.add(table, f"{hole} {name}", drawn, FIGURES, values=values)
    return table


def settings(task: Task, asked: bool, context: Mapping[str, Any]) -> Settings:
    """How chains fill holes, with a class `asked` for or without."""
    rest = {key: value for key, value in context.items() if key != "epsilon2"}
    found = Settings.of(task.sampler, asked=asked, steps=task.steps, context=rest)
    if asked or "epsilon2" not in context or not isinstance(found.sampler, Annealed):
        return found
    return replace(found, sampler=replace(found.sampler, epsilon2=context["epsilon2"]))


def chains(
    task: Task, model: PPGN, conditions: Sequence[Condition], unasked: Settings, asked: Settings
) -> dict[str, Fill]:
    """Ways to fill holes with chains, by name; `conditions` are those of the photographs, or none."""
    every: dict[str, Fill] = {"context": partial(_fill, task, model, [], unasked, task.prior)}
    if not conditions:
        return every
    published = {"_target_": "ppgn.samplers.published.Released", "clip": None}
    ways = {"class": asked}
    if not isinstance(asked.sampler, Anchored):  # whose anchors go with the rest of the photograph always
        if asked.imputations and isinstance(asked.sampler, Annealed):  # else it would be the same
            ways["class_pixels"] = replace(asked, imputations=0)
        ways["class_alone"] = replace(asked, imputations=0, weight=NONE)
    every |= {name: partial(_fill, task, model, conditions, way, task.prior) for name, way in ways.items()}
    released = Settings.of(published, asked=True, steps=task.steps)
    return every | {"released": partial(_fill, task, model, conditions, released, "joint")}


def _fill(
    task: Task,
    model: PPGN,
    conditions: Sequence[Condition],
    settings: Settings,
    prior: Any,
    pictures: Tensor,
    holes: Tensor,
    advance: Callable[..., None],
) -> Tensor:
    """Pictures uint8 (N, 3, H, W) with holes (N, H, W) -> the same, completed."""
    completed = []
    for rows in torch.arange(len(pictures)).split(task.batch_size):
        problems = [Problem.of(pictures[row], holes[row], size_of(model)) for row in rows.tolist()]
        condition = each_row([conditions[row] for row in rows.tolist()]) if conditions else None
        seeds = task.seed_list[:1] * len(problems)
        done = complete(model, problems, seeds, settings, condition=condition, prior=prior, callback=advance)
        completed += [problem.complete(drawn) for problem, drawn in zip(problems, done.signals, strict=True)]
    return torch.stack(completed)


def _classical(name: str, pictures: Tensor, holes: Tensor, advance: Callable[..., None]) -> Tensor:
    return fills.fill(pictures, holes, name)
