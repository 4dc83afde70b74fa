"""The samplers of the PPGN family, each as its experiment sets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ppgn import building, paths
from ppgn.errors import InputError, unknown
from ppgn.evaluation.judges import Panel, Recognition
from ppgn.evaluation.samples import CLASSES, photographs_of
from ppgn.evaluation.sources import Source, grid, side_of
from ppgn.evaluation.table import Table, flat
from ppgn.evaluation.task import Task, check_names
from ppgn.model import UntrainedError

VARIANTS = ("ppgn_x", "dgn_am", "dgn_am_released", "ppgn_h", "joint", "noiseless_joint", "annealed")
FIGURES = ("top1", "top5", "kid", "frechet", "density", "coverage", "within", "mixing", "seconds")


def variants(
    # -- what to measure --
    model: Any = "natural64",  # a name that `ppgn models` lists, or a .safetensors file; for experiments without one
    classes: Sequence[str | int] = CLASSES,  # names or indices; by default 40 varied classes of ImageNet
    data: Any = None,  # a folder of photographs: val_images.npy, uint8 (N, S, S, 3), in it or below, or picture files
    *,
    experiment: Sequence[str] = VARIANTS,  # whose model, prior and sampler; what is not trained yet is skipped
    models: Mapping[str, Any] | None = None,  # the model of an experiment alone: models.ppgn_x=pixels.safetensors
    n: int = 2000,  # how many photographs are compared with, spread evenly
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    # -- how samples are drawn --
    condition: Any = "imagenet",  # the network that is asked for the classes
    seeds: Any = "0-7",  # the chains of each class
    steps: int | None = None,  # steps for each sample; null is the sampler's own number
    # -- how it is run --
    batch_size: int = 8,  # pictures or chains at a time
    device: str = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    out: Any = None,  # a folder for evaluation.json and grids of pictures
    progress: bool = False,  # a bar for every row
) -> Table:
    """Samples of every class from every seed by each variant, below photographs of these classes if the data tell them.

    The first picture of a chain is what `ppgn.sample` draws; the chain then goes on from its code through as many steps
    again, `lag`. Rows have top-1 and top-5 of a judge that took no part; KID and Fréchet distance to the photographs,
    density and coverage around them; the cosine distance of features within classes, and from a sample to the next of
    its chain, "mixing"; seconds for a sample. Intervals are over classes. Raises `InputError`.
    """
    check_names("experiment", experiment)
    recipes = {name: recipe(name) for name in experiment}
    task = Task.of("variants", locals())
    ready: dict[str, Source | str] = {}
    for name, settings in recipes.items():
        try:
            drawer = task.model((models or {}).get(name) or settings.get("model"))
            ready[name] = task.source(drawer, sampler=settings["sampler"], prior=settings.get("prior"), onward=True)
        except UntrainedError as error:
            ready[name] = str(error)
    able = [source for source in ready.values() if isinstance(source, Source)]
    if able:
        side = min(side_of(source.model) for source in able)
        asked = task.conditions(classes)
        recognition = Recognition.of(judge, asked, batch_size, task.device)
        panel = Panel(asked, recognition, task.features(), task.photographs.spread(n, side))
        photos = photographs_of(recognition, task.photographs, len(task.seeds), side, n)
        if photos is not None:
            task.table.add("photos", panel.figures(photos, FIGURES))
    for name, source in ready.items():
        if isinstance(source, str):
            task.table.add(name, {}, skipped=source)
            continue
        drawn = source.draw(asked, name, progress, side)
        facts = {"model": source.model.name, "prior": source.model.name_of(source.prior), "lag": source.length}
        facts["sampler"] = dict(flat("", source.sampler))
        grids = {f"grid_{name}": grid(drawn)}
        task.table.add(name, panel.figures(drawn, FIGURES), grids, failed=drawn.failed, **facts)
    return task.table


def recipe(name: str) -> dict[str, Any]:
    """What conf/experiment/NAME.yaml sets of "model", "prior" and "sampler", a mapping.

    Raises `InputError` for an unknown name, and for an experiment that sets something else.
    """
    if name not in paths.options("experiment"):
        raise unknown("experiment", name, paths.options("experiment"))
    content = yaml.safe_load((paths.conf() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = {
        key.removeprefix("override /"): option for entry in content.pop("defaults", []) for key, option in entry.items()
    }
    if not {*content, *groups} <= {"model", "prior", "sampler"}:
        raise InputError(f"experiment={name} cannot be used here; expected one of: {', '.join(VARIANTS)}")
    sampler = building.merged(building.node("sampler", groups.get("sampler", "annealed")), content.get("sampler", {}))
    return {**content, "sampler": sampler}
