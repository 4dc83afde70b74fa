"""Samples and what is said of them, as a folder: files, report, and how an interrupted run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from ppgn import files, paths
from ppgn.contracts import Condition, Medium, Samples
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.medium import Pictures

FORMAT = "ppgn-samples-1"
COLUMNS = ("seeds", "targets", "steps")
ADVICE = "delete it or choose another out=FOLDER"


class Run:
    """The samples of a run so far.

    `samples` hold them as their medium stores them, a row each; `signals`, `images` (uint8 (N, 3, H, W)), `codes`,
    `log_prob` and `seeds` are theirs, `rows` tells of each what its condition says of it. `save` writes grid.png,
    samples.safetensors, report.json and config.yaml, each put in place whole.

    `config` is all that the run was asked for, `settings` what of it decides what a seed's samples are, flat and
    JSON-able: results of other settings are not continued. `conditions`, one per target, describe the samples; `about`
    goes into the report as it is. With `labels` every tile of the grid says what it is. Samples whose p does not exceed
    `threshold` are left out, as in the sampler released with PPGN (arXiv 1612.00005).
    """

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        settings: Mapping[str, Any],
        conditions: Sequence[Condition],
        about: Mapping[str, Any],
        medium: Medium | None = None,
        *,
        labels: bool = False,
        threshold: float | None = None,
    ) -> None:
        self.folder, self.config, self.settings = folder, dict(config), dict(settings)
        self.conditions, self.about, self.medium = tuple(conditions), dict(about), medium or Pictures()
        self.labels, self.threshold = labels, threshold
        self.samples: Samples | None = None
        self.walked: tuple[int, ...] = ()  # seeds, in the order they came
        self.unfinished: tuple[int, ...] = ()  # the seeds whose chains stand in `chains`
        self.seconds = 0.0
        self.chain_steps = 0  # walked in these seconds
        self.rows: list[dict[str, Any]] = []

    # What a person looks at

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        said = self.report() if self.samples is not None else {}
        p = said.get("mean_prob")
        shape = "x".join(map(str, self.signals.shape[1:])) if self.samples is not None else "none"
        means = "" if p is None else f", mean p {p:.2f}"
        return f"Run({len(self)} samples of {self.about.get('target')}, {shape}{means}, {self.seconds:.1f} s)"

    @property
    def signals(self) -> Tensor:
        """The samples as their medium stores them, (N, *signal_shape)."""
        return self._drawn.signals

    @property
    def images(self) -> Tensor:
        """The samples as pictures, uint8 (N, 3, H, W)."""
        return self.medium.show(self.signals)

    @property
    def codes(self) -> Tensor:
        """The samples' codes, (N, *code_shape)."""
        return self._drawn.codes

    @property
    def log_prob(self) -> Tensor:
        """log p(y | x) in the chains' last step, (N,)."""
        return self._drawn.log_prob

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every sample."""
        return self._drawn.seeds

    @property
    def _drawn(self) -> Samples:
        if self.samples is None:
            raise InputError("this run has no samples yet")
        return self.samples

    def grid(self) -> Image.Image:
        """The samples on one sheet, a row per seed where each has several, and all of them are here."""
        per_seed = len(self) // len(self.walked)
        columns = per_seed if per_seed > 1 and self.threshold is None else None
        captions = None
        if self.labels:
            asked = zip(self._drawn.targets, self.rows, strict=True)
            captions = [caption(self.conditions[index], row) for index, row in asked]
        return images.grid(self.images, columns, captions=captions)

    def report(self) -> dict[str, Any]:
        """What report.json says: the run, its means, and every sample."""
        return {
            **self.about,
            "seeds": list(self.walked),
            "failed": list(self._drawn.failed),
            "seconds": round(self.seconds, 3),
            "chain_steps_per_second": round(self.chain_steps / self.seconds, 2) if self.seconds else None,
            "mean_log_prob": _mean([row["log_prob"] for row in self.rows]),
            "mean_prob": _mean([row.get("prob") for row in self.rows]),
            "versions": files.versions(),
            "samples": self.rows,
        }

    def summary(self) -> str:
        """One line for the person who waits."""
        report = self.report()
        target = report["target"] if isinstance(report["target"], str | int) else "target"
        means = "" if report["mean_prob"] is None else f", mean p({target}) {report['mean_prob']:.2f}"
        failed = f", {len(report['failed'])} failed: seeds {report['failed']}" if report["failed"] else ""
        passed = "" if self.threshold is None else f" with p > {self.threshold:g}"
        return f"{len(self)} samples{passed} in {report['seconds']:.1f} s{means}{failed} -> {self.folder}"

    def save(self, folder: str | Path | None = None) -> None:
        """Write all files into `folder`, by default that of the run. Raises `InputError` where the system refuses."""
        if folder is not None:
            self.folder = Path(folder).expanduser()
        if self.samples is None:
            return
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        paths.write(self._place / "config.yaml", text)
        self.save_samples()
        paths.write(self._place / "report.json", _to_json(self.report()))
        if self.rows:
            images.write(self._place / "grid.png", self.grid())
        else:
            (self._place / "grid.png").unlink(missing_ok=True)

    @property
    def _place(self) -> Path:
        if self.folder is None:
            raise InputError("this run has no folder; give one: save(FOLDER)")
        return self.folder

    # Batches come

    def add(self, samples: Samples, seconds: float, chain_steps: int) -> None:
        """Join the samples of a finished batch, of which so many steps, over all chains, took so many seconds."""
        self.seconds += seconds
        self.chain_steps += chain_steps
        stored = replace(samples, signals=self.medium.store(samples.signals))
        described = self._describe(stored)
        kept = [row for row, said in enumerate(described) if self._passes(said["log_prob"])]
        self._join(_rows(stored, kept), tuple(dict.fromkeys(samples.seeds)), [described[row] for row in kept])

    def _passes(self, log_prob: float | None) -> bool:
        return self.threshold is None or (log_prob is not None and log_prob > math.log(self.threshold))

    def _join(self, samples: Samples, seeds: Sequence[int], described: Sequence[Mapping[str, Any]]) -> None:
        self.walked += tuple(seeds)
        self.samples = samples if self.samples is None else Samples.concatenate([self.samples, samples])
        self.rows += [dict(row) for row in described]

    def _describe(self, samples: Samples) -> list[dict[str, Any]]:
        """One row per sample, with what its condition says of the plain signal, without the sampler's random views."""
        target = self.about["target"]
        names = target if isinstance(target, list) else [target]
        said: dict[int, dict[str, Any]] = {}
        for index, condition in enumerate(self.conditions):
            rows = [row for row, asked in enumerate(samples.targets) if asked == index]
            said |= zip(rows, describe(condition, samples.signals[rows], self.medium), strict=True)
        columns = zip(samples.seeds, samples.targets, samples.steps, samples.log_prob.tolist(), strict=True)
        return [
            {"seed": seed, "target": names[asked], "step": step, "log_prob": _finite(log_prob), **said[row]}
            for row, (seed, asked, step, log_prob) in enumerate(columns)
        ]

    # Interrupted, and going on

    @property
    def tag(self) -> str:
        """The settings as text, by which an unfinished batch is recognised."""
        return json.dumps(self.settings)

    @property
    def chains(self) -> Path:
        """Where the state of an unfinished batch is."""
        return self._place / "chains-0.safetensors"

    @property
    def _stored(self) -> dict[str, str]:
        """The names of tensors in samples.safetensors, and as what they are known here."""
        return {"images" if isinstance(self.medium, Pictures) else "signals": "signals", "codes": "codes"} | {
            "log_prob": "log_prob"
        }

    def save_samples(self) -> None:
        """Write samples.safetensors alone, from which `load` goes on. Raises `InputError` as `save` does."""
        samples = self._drawn
        tensors = {name: getattr(samples, known) for name, known in self._stored.items()}
        tensors |= {name: torch.tensor(getattr(samples, name), dtype=torch.int64) for name in COLUMNS}
        progress = {"walked": self.walked, "failed": samples.failed}
        progress |= {"seconds": self.seconds, "chain_steps": self.chain_steps}  # type: ignore[dict-item]
        path = self._place / "samples.safetensors"
        files.save(path, tensors, FORMAT, settings=self.settings, progress=progress)

    def load(self) -> None:
        """Take over what an earlier run with the same settings saved in the folder, if there is anything.

        Raises `InputError` where the folder holds a run of other settings.
        """
        path = self._place / "samples.safetensors"
        if not path.exists():
            return
        tensors, metadata = files.load(path, FORMAT, advice=ADVICE)
        self._check_settings(metadata["settings"])
        try:
            progress = metadata["progress"]
            self.walked, failed = tuple(progress["walked"]), tuple(progress["failed"])
            self.seconds, self.chain_steps = progress["seconds"], progress["chain_steps"]
            columns: dict[str, Any] = {name: tuple(tensors[name].tolist()) for name in COLUMNS}
            columns |= {known: tensors[name] for name, known in self._stored.items()}
            self.samples = Samples(**columns, failed=failed)
            self.rows = self._describe(self.samples)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"cannot resume from '{path}': it is damaged ({error}); {ADVICE}") from error

    def load_unfinished(self) -> None:
        """Note the seeds whose chains stand in `chains`. Raises `InputError` where they are of other settings."""
        if self.chains.exists():
            run = files.head(self.chains, "ppgn-chains-2", advice=ADVICE)["run"]
            self._check_settings(json.loads(run["tag"]))
            self.unfinished = tuple(run["seeds"])

    def _check_settings(self, saved: Mapping[str, Any]) -> None:
        wanted = json.loads(self.tag)
        for key in sorted(wanted.keys() | saved.keys(), key=lambda key: (key.count("."), key)):
            was, now = (json.dumps(settings.get(key)) for settings in (saved, wanted))
            if was != now:
                difference = f"{key} was {was}, now it is {now}"
                raise InputError(f"cannot resume the run in '{self.folder}': {difference}; choose another out=FOLDER")

    # Several processes

    def part(self, rank: int) -> Run:
        """What one of several processes leaves, in a folder of its own inside this one, until `collect` takes it."""
        given = self.config, self.settings, self.conditions, self.about, self.medium
        return Run(self._place / f"rank-{rank}", *given, threshold=self.threshold)

    def collect(self) -> bool:
        """Join the samples of every part there is -> whether there were any new ones. `deal` clears the files away."""
        seconds = [0.0]
        for part in (self.part(rank) for rank in self._ranks()):
            part.load()
            if part.samples is None:
                continue
            rows = [row for row, seed in enumerate(part.samples.seeds) if seed not in self.walked]
            seeds = [seed for seed in part.walked if seed not in self.walked]
            if seeds:
                self._join(_rows(part.samples, rows), seeds, [part.rows[row] for row in rows])
                self.chain_steps += part.chain_steps
                seconds.append(part.seconds)
        self.seconds += max(seconds)
        return len(seconds) > 1

    def _ranks(self) -> list[int]:
        found = (folder.name.removeprefix("rank-") for folder in self._place.glob("rank-*"))
        return sorted(int(rank) for rank in found if rank.isdecimal())

    def sort(self, seeds: Sequence[int]) -> None:
        """Put the samples into the order of `seeds`, those of others in front, as they stand."""
        if self.samples is None:
            return
        place = {seed: number for number, seed in enumerate(seeds)}
        self.walked = tuple(sorted(self.walked, key=lambda seed: place.get(seed, -1)))
        samples = self.samples
        order = sorted(range(len(samples)), key=lambda row: place.get(samples.seeds[row], -1))
        failed = tuple(seed for seed in self.walked if seed in samples.failed)
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
            folder = self.part(rank)._place
            (folder / "samples.safetensors").unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _rows(samples: Samples, rows: Sequence[int]) -> Samples:
    """Some rows of samples, in the order given."""
    if list(rows) == list(range(len(samples))):
        return samples
    chosen: dict[str, Any] = {name: getattr(samples, name)[list(rows)] for name in ("signals", "codes", "log_prob")}
    chosen |= {name: tuple(getattr(samples, name)[row] for row in rows) for name in COLUMNS}
    return Samples(**chosen, failed=samples.failed)


def describe(
    condition: Condition, stored: Tensor, medium: Medium | None = None, batch_size: int = 16
) -> list[dict[str, Any]]:
    """What a condition says of stored signals (N, ...), by default uint8 images: a dict each, {} where it is silent."""
    if not hasattr(condition, "describe"):
        return [{} for _ in stored]
    restore = (medium or Pictures()).restore
    weight = next(iter(condition.parameters()), None) if isinstance(condition, nn.Module) else None
    said: list[dict[str, Any]] = []
    with torch.no_grad():
        for batch in stored.split(batch_size):
            x = restore(batch)
            said += condition.describe(x if weight is None else x.to(weight.device, weight.dtype))
    return said


def caption(condition: Condition, row: Mapping[str, Any]) -> str:
    """What a picture is, by the report of it: probability and name of each class asked for, a line each."""
    if "terms" in row:
        terms = zip(cast("Any", condition).terms, row["terms"], strict=True)
        return "\n".join(caption(term, said) for term, said in terms)
    name = str(getattr(condition, "name", row.get("target", ""))).split(",")[0]
    log_prob = row["log_prob"]
    p = row.get("prob") if "prob" in row or log_prob is None else math.exp(min(log_prob, 0))
    return name if p is None else f"{p:.2f} {name}"


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
