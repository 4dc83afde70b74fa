"""The samplers of the PPGN family, each as its experiment sets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from ppgn import building, paths
from ppgn.contracts import Prior
from ppgn.errors import InputError, unknown
from ppgn.evaluation.samples import CLASSES, panel_of
from ppgn.evaluation.sources import Source, side_of
from ppgn.evaluation.table import Table, plain
from ppgn.evaluation.task import Task
from ppgn.model import UntrainedError

VARIANTS = ("ppgn_x", "dgn_am", "dgn_am_released", "ppgn_h", "joint", "noiseless_joint", "annealed")
FIGURES = ("top1", "top5", "kid", "frechet", "density", "coverage", "within", "mixing", "seconds")


def variants(
    model: Any = "natural64",
    classes: Sequence[str | int] = CLASSES,  # names or indices; by default 40 varied classes of ImageNet
    data: Any = None,
    *,
    experiment: Sequence[str] = VARIANTS,  # whose model, prior and sampler; what is not trained yet is skipped
    models: Mapping[str, Any] | None = None,  # the model of an experiment alone: models.ppgn_x=pixels.safetensors
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of every class from every seed by each variant, below photographs of these classes if the data tell them.

    The first picture of a chain is what `ppgn.sample` draws; the chain then goes on from its code through as many steps
    again, `lag`. Rows have top-1 and top-5 of a judge that took no part; KID and Fréchet distance to the photographs,
    density and coverage around them; the cosine distance of features within classes, and from a sample to the next of
    its chain, "mixing"; seconds for a sample. Intervals are over classes. Raises `InputError`.
    """
    for name in {"sampler", "prior"} & options.keys():
        raise InputError(f"{name}= cannot be used here: each experiment has its own; leave it out")
    task = Task(model=model, data=data, **options)
    table = task.begin("variants", classes=classes, experiment=experiment, models=models, judge=judge)
    recipes = {name: recipe(name) for name in experiment}
    ready: dict[str, Source | str] = {}
    for name, settings in recipes.items():
        try:
            drawer = task.load((models or {}).get(name) or settings.get("model"))
            ready[name] = task.source(drawer, sampler=settings["sampler"], prior=settings.get("prior"), onward=True)
        except UntrainedError as error:
            ready[name] = str(error)
    able = [source for source in ready.values() if isinstance(source, Source)]
    if able:
        side = min(side_of(source.model) for source in able)
        asked = task.conditions(classes)
        panel, photos = panel_of(task, judge, asked, side)
        if photos is not None:
            panel.add(table, "photos", photos, FIGURES)
    for name, source in ready.items():
        if isinstance(source, str):
            table.add(name, {}, skipped=source)
            continue
        facts: dict[str, Any] = {"model": source.model.name, "prior": source.model.name_of(cast(Prior, source.prior))}
        facts |= {"lag": source.length, "sampler": plain(source.sampler)}
        panel.add(table, name, source.draw(asked, name, task.progress, side), FIGURES, **facts)
    return table


def recipe(name: str) -> dict[str, Any]:
    """What conf/experiment/NAME.yaml sets of "model", "prior" and "sampler", a mapping; or a sampler by its name.

    Raises `InputError` for an unknown name, and for an experiment that sets something else.
    """
    if name not in paths.options("experiment"):
        if name in paths.options("sampler"):
            return {"sampler": building.node("sampler", name)}
        raise unknown("experiment", name, [*paths.options("experiment"), *paths.options("sampler")])
    content = yaml.safe_load((paths.conf() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = {key: option for entry in content.pop("defaults", []) for key, option in entry.items()}
    if not {*content} <= {"model", "prior", "sampler"} or [*groups] != ["override /sampler"]:
        raise InputError(f"experiment={name} cannot be used here; expected one of: {', '.join(VARIANTS)}")
    sampler = building.merged(building.node("sampler", groups["override /sampler"]), content.get("sampler", {}))
    return {**content, "sampler": sampler}
