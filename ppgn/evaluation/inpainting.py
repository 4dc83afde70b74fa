"""Holes in photographs, filled by chains and by classical means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgn import building
from ppgn.cli import inpaint
from ppgn.conditions.context import Context
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel, Recognition
from ppgn.evaluation.sources import Drawn, bar
from ppgn.evaluation.table import Table
from ppgn.evaluation.task import Task
from ppgn.inpainting import Problem, complete, size_of
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.metrics import inpainting as fills
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.published import Released
from ppgn.samplers.sampler import Sampler

HOLES = ("center", "random")  # as in `ppgn inpaint`
OTHERS = 10  # photographs for each that is filled, which KID compares with
NONE = 1e-12  # weight of a context term that is left out
SHOWN = 8  # photographs in a grid
FIGURES = ("psnr", "distance", "kid", "top1", "top5", "seconds")

Fill = Callable[[Tensor, Tensor, Callable[..., None]], Tensor]  # pictures, holes, what follows every step -> pictures


def inpainting(
    # -- what to measure --
    model: Any = "natural64",  # a name that `ppgn models` lists, or a .safetensors file
    data: Any = None,  # a folder of photographs: val_images.npy, uint8 (N, S, S, 3), in it or below, or picture files
    *,
    n: int = 100,  # how many of them are filled, spread evenly; up to ten times as many are compared with
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    # -- how holes are filled --
    condition: Any = "imagenet",  # the network that is asked for the photograph's class, where the data tell it
    seed: int = 0,  # of every chain
    prior: Any = None,  # what keeps pictures natural (mixture, joint, dae, gaussian); null is what suits the sampler
    sampler: Any = "annealed",  # the kernel and its settings; what is not set is as `ppgn inpaint` has it
    context: Mapping[str, Any] | None = None,  # weight, std, likelihood, imputations and epsilon2 as of `ppgn inpaint`
    steps: int | None = None,  # steps for each photograph; null is the sampler's own number
    # -- how it is run --
    batch_size: int = 8,  # pictures or chains at a time
    device: str = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    out: Any = None,  # a folder for evaluation.json and grids of pictures
    progress: bool = False,  # a bar for every row
) -> Table:
    """Holes in photographs filled by chains, from one seed, and by classical means.

    Chains: of `ppgn inpaint`, without ("context") and with the photograph's class ("class"), with the class and the
    known pixels alone ("class_pixels", no imputations), with neither ("class_alone"), and of the published procedure
    without its clip, as whitened codes are negative too. Rows have the PSNR in the hole in dB; the cosine distance of
    features to the original's; KID to other photographs; top-1 and top-5 of a judge that took no part, where the
    classes are known; seconds for a photograph. Intervals are over photographs. Raises `InputError`.
    """
    task = Task.of("inpainting", locals())
    fills.check_libraries()
    drawer = task.model()
    if drawer.encoder is None:
        raise InputError(f"model {task.table.about['model']} has no encoder, so it cannot inpaint; give another model")
    step = max(2, min(1 + OTHERS, len(task.photographs) // n))
    pictures = task.spread(step * n, drawer)
    originals, others = pictures[::step], pictures[torch.arange(len(pictures)) % step > 0]
    known = [task.photographs.imagenet[row] for row in task.photographs.rows(step * n)]
    classes = [] if None in known else known[::step]
    panel = Panel([], Recognition.of_imagenet(judge, classes, batch_size, task.device), task.features(), others)
    original = Drawn(originals, torch.arange(n))
    task.table.add("original", panel.figures(original, ("kid", "top1", "top5")))
    chains = Completer.of(task, drawer, classes, sampler, context or {}).ways()
    classical: dict[str, Fill] = {name: partial(_classical, name) for name in fills.FILLS}
    for hole in HOLES:
        holes = torch.stack([inpaint.read_hole(hole, Path(str(row)), one, None) for row, one in enumerate(originals)])
        shown = [originals, torch.where(holes[:, None], inpaint.GREY, originals)]
        for name, way in {**classical, **chains}.items():
            started = time.perf_counter()
            with bar(progress, 0, f"{hole} {name}", "step") as advance:
                filled = way(originals, holes, lambda *_, advance=advance: advance.update() and None)
            seconds = torch.full((n,), (time.perf_counter() - started) / n)
            values = {"psnr": fidelity.psnr(filled, originals, holes)}
            shown.append(filled)
            rows = torch.stack([some[:SHOWN] for some in shown], dim=1).flatten(0, 1)
            figures = panel.figures(
                replace(original, pictures=filled, seconds=seconds, beside=originals), FIGURES, values
            )
            task.table.add(f"{hole} {name}", figures, {f"grid_{hole}": images.grid(rows, columns=len(shown))})
    return task.table


@dataclass(frozen=True)
class Completer:
    """Fills holes with chains of `ppgn inpaint`, one for each photograph."""

    task: Task
    model: PPGN
    sampler: Sampler
    context: Mapping[str, Any]
    conditions: Sequence[Condition]  # of every photograph, or none
    published: Sequence[Condition]  # the same with the published gradient

    @staticmethod
    def of(task: Task, model: PPGN, classes: Sequence[Any], sampler: Any, context: Mapping[str, Any]) -> Completer:
        node = building.node("sampler", sampler)
        kind = type(building.build(node))
        changes = {"Annealed": {"steps": 30, "sigma_max": 2.5, "epsilon2": 2.5}, "Langevin": {"epsilon1": 0.02}}
        made = Sampler.of(building.build({**changes.get(kind.__name__, {}), **node}))
        told = {"epsilon2": inpaint.UNASKED, "std": 0.1, "likelihood": "gaussian", "imputations": 32}
        told["weight"] = 1.0 if kind.__name__ == "Annealed" else 10.0
        asked = [task.conditions(classes, gradient) if classes else [] for gradient in ("full", "truncated")]
        return Completer(task, model, made, told | dict(context), *asked)

    def ways(self) -> dict[str, Fill]:
        """Ways to fill pictures with holes, by name."""
        sampler, annealed = self.sampler, isinstance(self.sampler, Annealed)
        told = self.context["imputations"]
        pixels = partial(Context, **{key: self.context[key] for key in ("std", "likelihood", "weight")})
        unasked = replace(sampler, epsilon2=self.context["epsilon2"]) if isinstance(sampler, Annealed) else sampler
        every: dict[str, Fill] = {"context": partial(self._fill, unasked, pixels, told, [])}
        if self.conditions:
            every["class"] = partial(self._fill, sampler, pixels, told, self.conditions)
            if told and annealed:
                every["class_pixels"] = partial(self._fill, sampler, pixels, 0, self.conditions)
            every["class_alone"] = partial(self._fill, sampler, partial(Context, weight=NONE), 0, self.conditions)
            published = Released(steps=20, lr_end=1e-32, epsilon3=0.0, clip=None)
            every["released"] = partial(self._fill, published, Context.released, 0, self.published)
        return every

    def _fill(
        self,
        sampler: Sampler,
        context: Callable[[Tensor, Tensor], Context],
        imputations: int,
        conditions: Sequence[Condition],
        pictures: Tensor,
        holes: Tensor,
        advance: Callable[..., None],
    ) -> Tensor:
        """Pictures uint8 (N, 3, H, W) with holes (N, H, W) -> the same, completed."""
        given, completed = self.task.given, []
        released = isinstance(sampler, Released)
        for rows in torch.arange(len(pictures)).split(given["batch_size"]):
            problems = [Problem.of(pictures[row], holes[row], size_of(self.model)) for row in rows.tolist()]
            done = complete(
                self.model,
                problems,
                [given["seed"]] * len(problems),
                sampler=sampler,
                condition=each_row([conditions[row] for row in rows.tolist()]) if conditions else None,
                context=context,
                fill="mean" if released else "harmonic",
                keep=1.0 if released or isinstance(sampler, Annealed) else 0.5,
                imputations=imputations,
                prior="joint" if released else given["prior"],
                steps=given["steps"],
                callback=advance,
            )
            completed += [problem.complete(drawn) for problem, drawn in zip(problems, done.drawn, strict=True)]
        return torch.stack(completed)


def _classical(name: str, pictures: Tensor, holes: Tensor, advance: Callable[..., None]) -> Tensor:
    return fills.fill(pictures, holes, name)
