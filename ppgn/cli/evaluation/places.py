"""`what=places`: samples of scenes, judged by a linear probe that took no part in drawing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppgn.cli.evaluation.chains import Chains, Pictures, Row, compare, publish
from ppgn.cli.evaluation.data import reduce, side_of
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.sample import build_conditions
from ppgn.contracts import Condition
from ppgn.errors import InputError
from ppgn.metrics import accuracy, fidelity
from ppgn.metrics.probe import Probe
from ppgn.networks import labels as class_names


@dataclass(frozen=True)
class Scenes:
    """Photographs of scenes, uint8 (N, 3, S, S) with labels (N,): what a probe learns from, and others to judge."""

    names: tuple[str, ...]
    train: Pictures
    val: Pictures

    @staticmethod
    def read(folder: Path, names: Sequence[str | int], each: int, side: int) -> Scenes:
        """The first `each` training photographs of each scene and all validation ones of a folder like MiniPlaces.

        It holds {train,val}_images.npy, uint8 (N, S, S, 3), {train,val}_labels.npy and classes.json, a list of names
        or of {"name": ...}. Raises `InputError` where it does not, and for a scene that it does not have.
        """
        try:
            classes = json.loads((folder / "classes.json").read_text())
            known = [str(entry["name"] if isinstance(entry, dict) else entry) for entry in classes]
            labels = {split: np.load(folder / f"{split}_labels.npy") for split in ("train", "val")}
            arrays = {split: np.load(folder / f"{split}_images.npy", mmap_mode="r") for split in ("train", "val")}
        except (OSError, ValueError, LookupError, TypeError) as error:
            expected = "expected {train,val}_images.npy, {train,val}_labels.npy and classes.json"
            raise InputError(f"data: no labelled scenes in '{folder}'; {expected}") from error
        chosen = [class_names.find(known, name) for name in names]

        def some(split: str, most: int | None) -> Pictures:
            rows = [np.flatnonzero(labels[split] == index)[:most] for index in chosen]
            for index, of_scene in zip(chosen, rows, strict=True):
                if not len(of_scene):
                    raise InputError(
                        f"data: '{folder}' has no {split} photograph of {known[index]}; give other classes"
                    )
            pictures = torch.from_numpy(arrays[split][np.concatenate(rows)]).permute(0, 3, 1, 2).contiguous()
            each = torch.tensor([len(of_scene) for of_scene in rows])
            return reduce(pictures, side), torch.arange(len(rows)).repeat_interleave(each)

        return Scenes(tuple(known[index] for index in chosen), some("train", each), some("val", None))


def judge_scenes(
    chains: Chains, conditions: Sequence[Condition], photographs: Scenes, features: Callable[[Tensor], Tensor]
) -> Iterator[Row]:
    """Rows of samples, start codes and photographs of scenes; condition number c asks for scene number c.

    "top1" is the share that a linear probe on `features` (see `fidelity.Features`), fitted to the training photographs,
    takes for the scene among all of `photographs`.
    """
    pictures, labels = photographs.train
    probe = Probe(features(pictures), labels)

    def judge(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"top1": accuracy.top_k(probe(features(pictures)), targets, 1).double()}

    sources = {
        "samples": lambda: chains.draw(conditions),
        "white_noise": lambda: chains.start(len(conditions)),
        "photographs": lambda: photographs.val,
    }
    return compare(conditions, sources, judge)


def places(request: Request, report: Report) -> None:
    """Samples of scenes beside their start codes and photographs. Intervals are over scenes."""
    model = request.load_model()
    each = request.n // len(request.classes)
    photographs = Scenes.read(request.data.folder, request.classes, each, side_of(model))
    conditions = build_conditions(request.config.condition, photographs.names, request.device, torch.float32)
    features = fidelity.Features(request.batch_size).to(request.device)
    with request.progress(0, "step") as bar:
        chains = Chains.of(request, model, bar.update)
        bar.total = chains.total(len(conditions))
        rows = judge_scenes(chains, conditions, photographs, features)
        publish(request, report, chains, photographs.names, rows, judged_among=len(photographs.names))
