"""Samples of scenes, judged by a linear probe that took no part in drawing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn import folders
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.metrics import accuracy
from ppgn.networks import labels as class_names
from ppgn.photographs import Photographs

# Scenes that MIT Places and MiniPlaces share: coasts and peaks, fields, streets, buildings, rooms.
SCENES = (
    "coast", "mountain", "volcano", "desert/sand", "iceberg", "rainforest", "corn_field", "golf_course", "highway",
    "harbor", "bridge", "skyscraper", "lighthouse", "church/outdoor", "bedroom", "kitchen", "classroom",
    "supermarket", "bookstore", "bathroom",
)  # fmt: skip


@folders.results(*FILES)
def places(
    model: Any = "natural64",
    classes: Sequence[str | int] = SCENES,  # names of scenes, as the data tell them; by default 20 varied ones
    # a folder like MiniPlaces: {train,val}_images.npy, {train,val}_labels.npy and classes.json
    data: Any = None,
    *,
    n: int = 3000,  # photographs that the probe learns from, as many of each scene
    condition: Any = "places",
    seeds: Any = "0-1",  # the chains of the first scene; they go on counting from scene to scene
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of scenes beside their start codes and the validation photographs.

    Rows have the condition's log p and "top1", the share that a linear probe on features (`metrics.fidelity.Features`),
    fitted to training photographs, takes for the scene. Intervals are over scenes. Raises `InputError`.
    """
    task = Task(model=model, data=data, n=n, condition=condition, seeds=seeds, **options)
    accuracy.check_library()
    table, drawer = task.begin("places", classes=classes), task.load()
    names, train = scenes(Photographs.find(data, "train"), classes, task.side(drawer), n // len(classes))
    _, val = scenes(task.photographs, names, task.side(drawer))
    asked = task.conditions(names)
    panel = Panel(asked, probing(task.features(), train))
    chains = {"samples": task.source(drawer, asked, own_seeds=True)}
    return panel.compare(table, chains, names, val, task.progress, judged_among=len(names))


def scenes(
    data: Photographs, classes: Sequence[str | int], side: int, each: int | None = None
) -> tuple[list[str], Drawn]:
    """The names of the scenes meant by `classes`, and the first `each`, or all, photographs of every one.

    Raises `InputError` where the data tell no classes, and for a scene that they do not have.
    """
    known, told = data.names, data.labels
    if not known:
        expected = "expected {train,val}_images.npy, {train,val}_labels.npy and classes.json"
        raise InputError(f"data: no labelled scenes in '{data.root}'; {expected}")
    names = [known[class_names.find(known, name)] for name in classes]
    rows = [np.flatnonzero([label == name for label in told])[:each] for name in names]
    for name, of_scene in zip(names, rows, strict=True):
        if not len(of_scene):
            raise InputError(f"data: '{data.root}' has no {data.split} photograph of {name}; give other classes")
    targets = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(of_scene) for of_scene in rows]))
    return names, Drawn(data.take(np.concatenate(rows).tolist(), side), targets)


def probing(features: Callable[[Tensor], Tensor], train: Drawn) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A judge: whether a linear probe on `features`, fitted to labelled photographs, takes pictures for their scene."""
    probe = accuracy.Probe(features(train.pictures), train.targets)
    return lambda pictures, targets: {"top1": accuracy.top_k(probe(features(pictures)), targets, 1).double()}
