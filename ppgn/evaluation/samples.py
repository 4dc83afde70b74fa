"""Samples of classes: with prior and sampler as given beside simpler ways to draw, and by the samplers of PPGN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from ppgn import building, folders, paths
from ppgn.contracts import Condition, Prior
from ppgn.errors import InputError, check_known, unknown
from ppgn.evaluation.judges import Panel, classes_of, recognition
from ppgn.evaluation.sources import Drawn, Source, in_folder
from ppgn.evaluation.table import FILES, Table, plain
from ppgn.evaluation.task import Task
from ppgn.model import UntrainedError
from ppgn.networks import labels
from ppgn.samplers.langevin import Langevin
from ppgn.shards import open_samples

# ImageNet classes that Tiny ImageNet has too: animals, vehicles, food, buildings, things, clothes, land.
CLASSES = (
    "goldfish", "bullfrog", "tarantula", "jellyfish", "king penguin", "golden retriever", "Persian cat", "lion",
    "ladybug", "monarch", "African elephant", "lesser panda", "sports car", "school bus", "freight car", "tractor",
    "gondola", "lifeboat", "pizza", "banana", "orange", "bell pepper", "mushroom", "acorn", "espresso", "barn",
    "suspension bridge", "triumphal arch", "obelisk", "beacon", "teapot", "umbrella", "frying pan", "hourglass",
    "military uniform", "kimono", "bow tie", "alp", "seashore", "coral reef",
)  # fmt: skip
SYSTEMS = ("default", "white_noise", "dgn_am", "pixels")
FIGURES = ("p", "top1", "top5", "kid", "within", "between", "seconds")
STORED_FIGURES = ("p", "top1", "top5", "kid", "frechet", "density", "coverage", "within", "between")
VARIANTS = ("ppgn_x", "dgn_am", "dgn_am_released", "ppgn_h", "joint", "noiseless_joint", "annealed")
VARIANT_FIGURES = ("top1", "top5", "kid", "frechet", "density", "coverage", "within", "mixing", "seconds")


@folders.results(*FILES)
def samples(
    model: Any = "natural64",
    classes: Sequence[str | int] = CLASSES,  # names or indices; by default 40 varied classes of ImageNet
    data: Any = None,
    *,
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    # a folder that `ppgn sample` wrote: these samples, of all their targets, instead of new ones of `classes`
    stored: Any = None,
    # what is compared: prior and sampler as given; the start codes N(0, I) as they are; the sampler ppgn with the
    # condition alone (epsilon1=0, epsilon3=0); gradient ascent on pixels
    systems: Sequence[str] = SYSTEMS,
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of every class from every seed by each system, below photographs of these classes if the data tell them.

    Rows have p, the condition's probability of the class; top-1 and top-5 of a judge that took no part; KID to the
    photographs; the mean cosine distance of features within and between classes; seconds for a sample. Intervals are
    over classes. Of `stored` samples a batch and the features are in memory, no more; they have the Fréchet distance,
    density and coverage as well. KID compares all pairs: twice as many take four times as long. Raises `InputError`.
    """
    for name in systems:
        check_known("system", name, SYSTEMS)
    if stored is not None:
        return _stored(stored, data, judge, options)
    task = Task(model=model, data=data, **options)
    table, drawer = task.begin("samples", classes=classes, judge=judge, systems=systems), task.load()
    asked = task.conditions(classes)
    chains = task.source(drawer, asked)
    sources = {
        "default": chains,
        "white_noise": chains.start_codes(),
        "dgn_am": replace(chains, sampler=Langevin(epsilon1=0.0, epsilon3=0.0)),
        "pixels": chains.on_pixels(),
    }
    panel, photos = panel_of(task, judge, asked, task.side(drawer))
    if photos is not None:
        panel.add(table, "photos", photos, FIGURES)
    for name in systems:
        drawn, kernel = sources[name].stream(asked, name, task.progress), plain(sources[name].sampler)
        panel.add(table, name, drawn, FIGURES, sampler=kernel)
    return table


def _stored(folder: str | Path, data: Any, judge: Any, options: dict[str, Any]) -> Table:
    """The table of `samples` in a folder, for what they were drawn for, unless `options` have another condition."""
    drawn = open_samples(folder)
    settings = drawn.parts[0].settings
    target, network = settings.get("target"), settings.get("condition.expression")
    targets = target if isinstance(target, list) else [None if target == network else target]
    given = {key.removeprefix("condition."): value for key, value in settings.items() if key.startswith("condition.")}
    given = {key: value for key, value in given.items() if key != "expression" and "_target_" not in key}
    task = Task(model=settings.get("model"), data=data, **{"condition": network, **options})
    table = task.begin("samples", stored=str(folder), classes=targets, judge=judge)
    table.about["settings"] |= {"drawn": dict(settings)}
    try:
        asked = task.conditions(targets, **({} if "condition" in options else given))
    except InputError as error:
        raise InputError(f"stored: '{folder}' was drawn for {network}: {error}; give condition=NAME") from error
    shape = drawn[:1].signals.shape[1:]
    if len(shape) != 3 or shape[0] != 3:
        held = f"signals of the shape {tuple(shape)}"
        raise InputError(f"stored: '{folder}' holds {held}; only RGB pictures can be judged")
    side = min(task.reduce_to, *shape[1:])
    panel, photos = panel_of(task, judge, asked, side)
    if photos is not None:
        panel.add(table, "photos", photos, FIGURES)
    panel.add(table, "stored", in_folder(drawn, side, task.batch_size, task.progress), STORED_FIGURES)
    return table


@folders.results(*FILES)
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
        side = min(task.side(source.model) for source in able)
        asked = task.conditions(classes)
        panel, photos = panel_of(task, judge, asked, side)
        if photos is not None:
            panel.add(table, "photos", photos, VARIANT_FIGURES)
    for name, source in ready.items():
        if isinstance(source, str):
            table.add(name, {}, skipped=source)
            continue
        facts: dict[str, Any] = {"model": source.model.name, "prior": source.model.name_of(cast(Prior, source.prior))}
        facts |= {"lag": source.length, "sampler": plain(source.sampler)}
        panel.add(table, name, source.stream(asked, name, task.progress, side), VARIANT_FIGURES, **facts)
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


def panel_of(task: Task, judge: Any, conditions: Sequence[Condition], side: int) -> tuple[Panel, Drawn | None]:
    """A panel for pictures of classes, and as many photographs of each as there are seeds, to be measured first.

    None of these is among those that pictures are compared with. Classes of which there are fewer photographs
    are left out; None where that leaves too little, and where the classes are not ImageNet's.
    """
    classifier, data, each = task.classifier(judge), task.photographs, len(task.seed_list)
    classes = classes_of(classifier, conditions)
    panel = Panel(conditions, recognition(classifier, classes), task.features(), data.batches(task.n, side))
    known = classes if classes is not None and classifier.labels == labels.imagenet() else []
    found = data.of_classes(known, each, side, apart=task.n)
    present = [number for number, index in enumerate(known) if index in found]
    if len(present) * each < 2:
        return panel, None
    pictures = torch.cat([found[known[number]] for number in present])
    return panel, Drawn(pictures, torch.tensor(present).repeat_interleave(each))
