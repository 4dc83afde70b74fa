"""What a run of `ppgn sample` leaves in its folder, and how an interrupted run finds it again."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ppgn import paths
from ppgn.contracts import Condition, Samples
from ppgn.errors import InputError
from ppgn.media import images

FORMAT = "ppgn-samples-1"
TENSORS = ("images", "codes", "log_prob")
COLUMNS = ("seeds", "targets", "steps")


class Results:
    """The samples of a run so far, and the files that show them.

    `folder` gets grid.png, samples.safetensors, report.json and config.yaml, each put in place whole by `save`.
    `settings` is all that decides what a seed's samples are, JSON-able: results of other settings are not continued.
    `conditions`, one per target, describe the samples; `about` goes into the report as it is. With `labels` every tile
    of the grid says what it is. `threshold`: only samples whose p exceeds it are kept, as in the sampler released with
    PPGN (arXiv 1612.00005).
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        conditions: Sequence[Condition],
        about: Mapping[str, Any],
        *,
        labels: bool = False,
        threshold: float | None = None,
    ) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.conditions = tuple(conditions)
        self.about = dict(about)
        self.labels, self.threshold = labels, threshold
        self.samples: Samples | None = None
        self.seeds: tuple[int, ...] = ()  # that have been walked, in the order they came
        self.unfinished: tuple[int, ...] = ()  # the seeds whose chains stand in `chains`
        self.seconds = 0.0
        self.chain_steps = 0  # walked in these seconds
        self.rows: list[dict[str, Any]] = []

    @property
    def tag(self) -> str:
        """The settings as text, by which an unfinished batch is recognised."""
        return json.dumps(self.settings)

    @property
    def chains(self) -> Path:
        """Where the state of an unfinished batch is."""
        return self.folder / "chains-0.safetensors"

    def part(self, rank: int) -> Results:
        """What one of several processes leaves, in a folder of its own inside this one, until `collect` takes it."""
        folder = self.folder / f"rank-{rank}"
        return Results(folder, self.settings, self.conditions, self.about, threshold=self.threshold)

    def collect(self) -> bool:
        """Join the samples of every part there is -> whether there were any new ones. `deal` clears the files away."""
        seconds = [0.0]
        parts = [self.part(rank) for rank in self._ranks()]
        for part in parts:
            part.load()
            if part.samples is None:
                continue
            rows = [row for row, seed in enumerate(part.samples.seeds) if seed not in self.seeds]
            seeds = [seed for seed in part.seeds if seed not in self.seeds]
            if seeds:
                self._join(_rows(part.samples, rows), seeds, [part.rows[row] for row in rows])
                self.chain_steps += part.chain_steps
                seconds.append(part.seconds)
        self.seconds += max(seconds)
        return len(seconds) > 1

    def _join(self, samples: Samples, seeds: Sequence[int], described: Sequence[Mapping[str, Any]]) -> None:
        self.seeds += tuple(seeds)
        samples = replace(samples, signals=samples.images)
        self.samples = samples if self.samples is None else Samples.concatenate([self.samples, samples])
        self.rows += [dict(row) for row in described]

    def _ranks(self) -> list[int]:
        return sorted(int(folder.name.removeprefix("rank-")) for folder in self.folder.glob("rank-*"))

    def sort(self, seeds: Sequence[int]) -> None:
        """Put the samples into the order of `seeds`, those of others in front, as they stand."""
        if self.samples is None:
            return
        place = {seed: number for number, seed in enumerate(seeds)}
        self.seeds = tuple(sorted(self.seeds, key=lambda seed: place.get(seed, -1)))
        samples = self.samples
        order = sorted(range(len(samples)), key=lambda row: place.get(samples.seeds[row], -1))
        failed = tuple(seed for seed in self.seeds if seed in samples.failed)
        self.samples = replace(_rows(samples, order), failed=failed)
        self.rows = [self.rows[row] for row in order]

    def deal(self, count: int, *, keep: bool) -> None:
        """Hand the chains that earlier processes left unfinished to `count` new ones, or clear them away."""
        found = [path for path in (self.chains, *(self.part(rank).chains for rank in self._ranks())) if path.exists()]
        homes = [self.chains] if count == 1 else [self.part(rank).chains for rank in range(count)]
        for path, home in zip(found if keep else [], homes, strict=False):
            home.parent.mkdir(parents=True, exist_ok=True)
            path.replace(home)
        for path in found:
            if not keep or path not in homes:
                path.unlink(missing_ok=True)
        for rank in self._ranks():
            folder = self.part(rank).folder
            (folder / "samples.safetensors").unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                folder.rmdir()

    def add(self, samples: Samples, seconds: float, chain_steps: int) -> None:
        """Join the samples of a finished batch, of which so many steps, over all chains, took so many seconds."""
        self.seconds += seconds
        self.chain_steps += chain_steps
        described = self._describe(samples)
        kept = [row for row, said in enumerate(described) if self._passes(said["log_prob"])]
        self._join(_rows(samples, kept), tuple(dict.fromkeys(samples.seeds)), [described[row] for row in kept])

    def _passes(self, log_prob: float | None) -> bool:
        return self.threshold is None or (log_prob is not None and log_prob > math.log(self.threshold))

    def save(self, config: str) -> None:
        """Write all files; `config` is the text of config.yaml. Raises `InputError` where the system refuses."""
        if self.samples is None:
            return
        paths.write(self.folder / "config.yaml", config)
        self.save_samples()
        paths.write(self.folder / "report.json", _to_json(self.report()))
        if self.rows:
            images.write(self.folder / "grid.png", self._grid(self.samples))
        else:
            (self.folder / "grid.png").unlink(missing_ok=True)

    def save_samples(self) -> None:
        """Write samples.safetensors alone, from which `load` goes on. Raises `InputError` as `save` does."""
        assert self.samples is not None
        tensors = {name: getattr(self.samples, name).contiguous() for name in TENSORS}
        tensors |= {name: torch.tensor(getattr(self.samples, name), dtype=torch.int64) for name in COLUMNS}
        progress = {
            "walked": self.seeds,
            "failed": self.samples.failed,
            "seconds": self.seconds,
            "chain_steps": self.chain_steps,
        }
        metadata = {"format": FORMAT, "settings": self.tag, "progress": json.dumps(progress)}
        paths.write(self.folder / "samples.safetensors", safetensors.torch.save(tensors, metadata))

    def _grid(self, samples: Samples) -> Image.Image:
        """The samples, a row per seed where each has several, and all of them are here."""
        per_seed = len(samples) // len(self.seeds)
        columns = per_seed if per_seed > 1 and self.threshold is None else None
        captions = None
        if self.labels:
            captions = [
                caption(self.conditions[asked], row) for asked, row in zip(samples.targets, self.rows, strict=True)
            ]
        return images.grid(samples.images, columns, captions=captions)

    def load(self) -> None:
        """Take over what an earlier run with the same settings saved in the folder, if there is anything.

        Raises `InputError` where the folder holds a run of other settings.
        """
        path = self.folder / "samples.safetensors"
        if not path.exists():
            return
        with _opened(path) as file:
            self._check_settings(json.loads(file.metadata()["settings"]))
            progress = json.loads(file.metadata()["progress"])
            self.seeds, failed = tuple(progress["walked"]), tuple(progress["failed"])
            self.seconds, self.chain_steps = progress["seconds"], progress["chain_steps"]
            tensors = {name: file.get_tensor(name) for name in (*TENSORS, *COLUMNS)}
        seeds, targets, steps = (tuple(tensors.pop(name).tolist()) for name in COLUMNS)
        self.samples = Samples(
            tensors.pop("images"), **tensors, seeds=seeds, targets=targets, steps=steps, failed=failed
        )
        self.rows = self._describe(self.samples)

    def load_unfinished(self) -> None:
        """Note the seeds whose chains stand in `chains`. Raises `InputError` where they are of other settings."""
        if self.chains.exists():
            with _opened(self.chains) as file:
                run = json.loads(file.metadata()["run"])
                self._check_settings(json.loads(run["tag"]))
                self.unfinished = tuple(run["seeds"])

    def _check_settings(self, saved: Mapping[str, Any]) -> None:
        wanted = json.loads(self.tag)
        for key in sorted(wanted.keys() | saved.keys(), key=lambda key: (key.count("."), key)):
            was, now = (json.dumps(settings.get(key)) for settings in (saved, wanted))
            if was != now:
                difference = f"{key} was {was}, now it is {now}"
                raise InputError(f"cannot resume the run in '{self.folder}': {difference}; choose another out=FOLDER")

    def report(self) -> dict[str, Any]:
        """What report.json says: the run, its means, and every sample."""
        assert self.samples is not None
        return {
            **self.about,
            "seeds": list(self.seeds),
            "failed": list(self.samples.failed),
            "seconds": round(self.seconds, 3),
            "chain_steps_per_second": round(self.chain_steps / self.seconds, 2) if self.seconds else None,
            "mean_log_prob": _mean([row["log_prob"] for row in self.rows]),
            "mean_prob": _mean([row.get("prob") for row in self.rows]),
            "versions": {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()},
            "samples": self.rows,
        }

    def summary(self) -> str:
        """One line for the person who waits."""
        report = self.report()
        target = report["target"] if isinstance(report["target"], str | int) else "target"
        means = "" if report["mean_prob"] is None else f", mean p({target}) {report['mean_prob']:.2f}"
        failed = f", {len(report['failed'])} failed: seeds {report['failed']}" if report["failed"] else ""
        passed = "" if self.threshold is None else f" with p > {self.threshold:g}"
        return f"{len(self.rows)} samples{passed} in {report['seconds']:.1f} s{means}{failed} -> {self.folder}"

    def _describe(self, samples: Samples) -> list[dict[str, Any]]:
        """One row per sample, with what its condition says of the plain image, without the sampler's random views."""
        target = self.about["target"]
        names = target if isinstance(target, list) else [target]
        said: dict[int, dict[str, Any]] = {}
        for index, condition in enumerate(self.conditions):
            rows = [row for row, asked in enumerate(samples.targets) if asked == index]
            said |= zip(rows, describe(condition, samples.images[rows]), strict=True)
        return [
            {"seed": seed, "target": names[asked], "step": step, "log_prob": _finite(log_prob), **said[row]}
            for row, (seed, asked, step, log_prob) in enumerate(
                zip(samples.seeds, samples.targets, samples.steps, samples.log_prob.tolist(), strict=True)
            )
        ]


def _rows(samples: Samples, rows: Sequence[int]) -> Samples:
    """Some rows of samples, in the order given."""
    if list(rows) == list(range(len(samples))):
        return samples
    tensors = ("signals", "codes", "log_prob")
    chosen: dict[str, Any] = {name: getattr(samples, name)[list(rows)] for name in tensors}
    chosen |= {name: tuple(getattr(samples, name)[row] for row in rows) for name in COLUMNS}
    return Samples(**chosen, failed=samples.failed)


def caption(condition: Condition, row: Mapping[str, Any]) -> str:
    """What a picture is, by the report of it: probability and name of each class asked for, a line each."""
    if "terms" in row:
        terms = zip(cast("Any", condition).terms, row["terms"], strict=True)
        return "\n".join(caption(term, said) for term, said in terms)
    name = str(getattr(condition, "name", row.get("target", ""))).split(",")[0]
    log_prob = row["log_prob"]
    p = row.get("prob") if "prob" in row or log_prob is None else math.exp(min(log_prob, 0))
    return name if p is None else f"{p:.2f} {name}"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file to read from; whatever is wrong with it becomes an `InputError`."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, LookupError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot resume from '{path}': {error}; delete it or choose another out=FOLDER") from error


def describe(condition: Condition, pictures: Tensor, batch_size: int = 16) -> list[dict[str, Any]]:
    """What a condition says of uint8 images (N, 3, H, W): a dict each, empty where it has nothing to say."""
    if not hasattr(condition, "describe"):
        return [{} for _ in pictures]
    weight = next(iter(condition.parameters()), pictures) if isinstance(condition, nn.Module) else pictures
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    said: list[dict[str, Any]] = []
    with torch.no_grad():
        for batch in pictures.split(batch_size):
            said += condition.describe(batch.to(weight.device, dtype) / 255)
    return said


def _to_json(report: Mapping[str, Any]) -> str:
    """A report as JSON with one line for every entry and every sample."""
    text = partial(json.dumps, ensure_ascii=False)
    head = [f"  {text(key)}: {text(value)},\n" for key, value in report.items() if key != "samples"]
    rows = ",\n".join(f"    {text(row)}" for row in report["samples"])
    return "".join(["{\n", *head, f'  "samples": [\n{rows}\n  ]\n', "}\n"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no other numbers


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
