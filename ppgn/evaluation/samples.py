"""Samples of classes, with prior and sampler as given, beside simpler ways to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ppgn.contracts import Condition
from ppgn.errors import unknown
from ppgn.evaluation.judges import Panel, classes_of, recognition
from ppgn.evaluation.sources import Drawn, side_of
from ppgn.evaluation.table import Table
from ppgn.evaluation.task import Task
from ppgn.networks import labels
from ppgn.samplers.langevin import Langevin

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


def samples(
    model: Any = "natural64",
    classes: Sequence[str | int] = CLASSES,  # names or indices; by default 40 varied classes of ImageNet
    data: Any = None,
    *,
    judge: Any = "efficientnet_lite2",  # who recognises: an ImageNet classifier, which sees 160 px, or module:Class
    # what is compared: prior and sampler as given; the start codes N(0, I) as they are; the sampler ppgn with the
    # condition alone (epsilon1=0, epsilon3=0); gradient ascent on pixels
    systems: Sequence[str] = SYSTEMS,
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of every class from every seed by each system, below photographs of these classes if the data tell them.

    Rows have p, the condition's probability of the class; top-1 and top-5 of a judge that took no part; KID to the
    photographs; the mean cosine distance of features within and between classes; seconds for a sample. Intervals are
    over classes. Raises `InputError`.
    """
    for name in systems:
        if name not in SYSTEMS:
            raise unknown("system", name, SYSTEMS)
    task = Task(model=model, data=data, **options)
    table, drawer = task.begin("samples", classes=classes, judge=judge, systems=systems), task.load()
    chains, asked = task.source(drawer), task.conditions(classes)
    sources = {
        "default": chains,
        "white_noise": chains.start_codes(),
        "dgn_am": replace(chains, sampler=Langevin(epsilon1=0.0, epsilon3=0.0)),
        "pixels": chains.on_pixels(),
    }
    panel, photos = panel_of(task, judge, asked, side_of(drawer))
    if photos is not None:
        panel.add(table, "photos", photos, FIGURES)
    for name in systems:
        panel.add(table, name, sources[name].draw(asked, name, task.progress), FIGURES)
    return table


def panel_of(task: Task, judge: Any, conditions: Sequence[Condition], side: int) -> tuple[Panel, Drawn | None]:
    """A panel for pictures of classes, and as many photographs of each as there are seeds, to be measured first.

    None of these is among those that pictures are compared with. Classes of which there are fewer photographs
    are left out; None where that leaves too little, and where the classes are not ImageNet's.
    """
    classifier, data, each = task.classifier(judge), task.photographs, len(task.seed_list)
    classes = classes_of(classifier, conditions)
    panel = Panel(conditions, recognition(classifier, classes), task.features(), data.spread(task.n, side))
    known = classes if classes is not None and classifier.labels == labels.imagenet() else []
    found = data.of_classes(known, each, side, apart=task.n)
    present = [number for number, index in enumerate(known) if index in found]
    if len(present) * each < 2:
        return panel, None
    pictures = torch.cat([found[known[number]] for number in present])
    return panel, Drawn(pictures, torch.tensor(present).repeat_interleave(each))
