"""`what=inpainting`: holes in photographs, filled by chains and by classical means."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ppgn import inpainting
from ppgn.cli import config as configs
from ppgn.cli import inpaint
from ppgn.cli.evaluation.data import side_of
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.evaluation.samples import advance
from ppgn.cli.sample import build_conditions
from ppgn.conditions.context import Context
from ppgn.conditions.rows import each_row
from ppgn.contracts import Condition
from ppgn.errors import InputError
from ppgn.inpainting import Problem
from ppgn.media import images
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.metrics import inpainting as fills
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.published import Released
from ppgn.samplers.sampler import Sampler

HOLES = ("center", "random")  # as in `ppgn inpaint`
OTHERS = 10  # photographs for each that is filled, which KID compares with
NONE = 1e-12  # weight of a context term that is left out
SHOWN = 8  # photographs in a grid


Way = Callable[[Tensor, Tensor, Callable[..., None]], Tensor]  # pictures, holes, what follows every step -> pictures


class _Completer:
    """Fills holes with chains, one for each photo: of `ppgn inpaint`, without and with the photo's class, of the class
    with the known pixels alone (no imputations) and with neither, and of the published procedure (without its clip:
    whitened codes are negative too).
    """

    def __init__(self, request: Request, model: PPGN, classes: Sequence[int] | None) -> None:
        self.request, self.model = request, model
        self.conditions: list[Condition] = []
        if classes is not None:
            place = request.device, torch.float32
            self.conditions = build_conditions(request.config.condition, classes, *place)
            truncated = OmegaConf.merge(request.config.condition, {"gradient": "truncated"})
            self.published = build_conditions(cast(DictConfig, truncated), classes, *place)
        self.sampler: Sampler = configs.build(request.config.sampler)
        self.keep = 1.0 if isinstance(self.sampler, Annealed) else 0.5  # as `ppgn inpaint` does
        self.likelihood = inpaint.likelihood(request.config.context)
        self.imputations: int = request.config.context.imputations

    def ways(self) -> dict[str, Way]:
        """Ways to fill pictures with holes, by name."""
        sampler, keep, told = self.sampler, self.keep, self.imputations
        unasked = sampler
        if isinstance(sampler, Annealed):  # as `ppgn inpaint` does without a target
            unasked = replace(sampler, epsilon2=self.request.config.context.epsilon2)
        every: dict[str, Way] = {"context": partial(self._fill, unasked, self.likelihood, keep, told, [])}
        if self.conditions:
            every["class"] = partial(self._fill, sampler, self.likelihood, keep, told, self.conditions)
            if told and isinstance(sampler, Annealed):
                every["class_pixels"] = partial(self._fill, sampler, self.likelihood, keep, 0, self.conditions)
            nothing = partial(Context, weight=NONE)
            every["class_alone"] = partial(self._fill, sampler, nothing, keep, 0, self.conditions)
            published = Released(steps=20, lr_end=1e-32, epsilon3=0.0, clip=None)
            every["released"] = partial(self._fill, published, Context.released, 1.0, 0, self.published)
        return every

    def _fill(
        self,
        sampler: Sampler,
        context: Callable[[Tensor, Tensor], Context],
        keep: float,
        imputations: int,
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
                condition=each_row([conditions[row] for row in rows.tolist()]) if conditions else None,
                context=context,
                fill="mean" if context == Context.released else "harmonic",
                keep=keep,
                imputations=imputations,
                prior="joint" if context == Context.released else self.request.choose_prior(self.model, sampler),
                steps=self.request.steps,
                callback=advance,
            )
            completed += [problem.complete(drawn) for problem, drawn in zip(problems, done.drawn, strict=True)]
        return torch.stack(completed)


def filling(request: Request, report: Report) -> None:
    """Holes in photographs filled by chains, from one seed, and by classical means, all judged alike.

    Intervals are over photographs. Figures: PSNR inside the hole, cosine distance of features to the original's, KID to
    other photographs, where the photographs' classes are known top-1 and top-5 of the judge, seconds for each.
    """
    fills.check_libraries()
    model = request.load_model()
    if model.encoder is None:
        raise InputError(f"model {request.config.model} has no encoder, so it cannot inpaint; give another model")
    step = max(2, min(1 + OTHERS, len(request.data) // request.n))
    pictures, known = request.data.spread(step * request.n, side_of(model)), request.data.classes(step * request.n)
    originals, classes = pictures[::step], None if known is None else known[::step]
    completer = _Completer(request, model, classes)
    judge = accuracy.Judge(request.batch_size).to(request.device)
    features = fidelity.Features(request.batch_size).to(request.device)
    of_originals = features(originals)
    of_others = features(pictures[torch.arange(len(pictures)) % step > 0])
    kid = fidelity.kid(of_originals, of_others)
    report.add("original", {"kid": kid, **_recognised(judge, originals, classes)})
    for mask in HOLES:
        holes = torch.stack([inpaint.read_hole(mask, Path(str(row)), p, None) for row, p in enumerate(originals)])
        shown = [originals, torch.where(holes[:, None], inpaint.GREY, originals)]
        ways: dict[str, Way] = {name: partial(_classical, name) for name in fills.FILLS}
        for name, way in (ways | completer.ways()).items():
            started = time.perf_counter()
            with request.progress(0, "step") as bar:
                bar.set_postfix_str(f"{mask} {name}")
                completed = way(originals, holes, lambda *_, bar=bar: advance(bar))
            seconds = (time.perf_counter() - started) / request.n
            of_completed = features(completed)
            figures = {
                "psnr": bootstrap.mean(fills.psnr(completed, originals, holes)),
                "distance": bootstrap.mean(diversity.paired(of_completed, of_originals)),
                "kid": fidelity.kid(of_completed, of_others),
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
