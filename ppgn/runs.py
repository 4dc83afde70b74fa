"""A run's samples: how they come into a folder and out of it again."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ppgn import files, folders, paths, shards
from ppgn.contracts import Condition, Medium, Samples
from ppgn.drawn import TILES, Drawn, describe, finite, seconds_of
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.medium import Pictures
from ppgn.shards import Part

PICTURES = "images"  # the folder of single pictures


class Run(Drawn):
    """The samples of a run so far, in a folder.

    `part` describes a batch, here or where it was drawn; `add` puts it into a file of its own, and joins 4,096 rows
    into a shard; `save` writes config.yaml, report.json, grid.png of the first 64, images/ where there are no more, and
    the rest of the samples: up to 4,096 rows are in samples.safetensors, of more `ppgn.shards` says where.

    `config` is all that the run was asked for, `settings` what of it decides what a seed's samples are, flat and
    JSON-able: results of other settings are not continued. `job`, as 3of8, is which part of a run this is; its files
    have that in their names. The others are those of `Drawn`.
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
        job: str = "",
        **shown: Any,
    ) -> None:
        super().__init__(conditions, about, medium, **shown)
        self.folder, self.config, self.settings, self.job = folder, dict(config), dict(settings), job
        self.elsewhere: frozenset[int] = frozenset()  # seeds that other jobs have finished
        self.unfinished: list[tuple[Path, tuple[int, ...]]] = []  # files of chains, and their seeds
        self._listed: dict[str, Any] = {}  # in the index, by file
        self._replaced: list[Path] = []  # files whose seeds will stand in others
        self._batches = 0

    def report(self) -> dict[str, Any]:
        """That of `Drawn`; of more than 4,096 samples the name of the file that holds their rows."""
        said = super().report()
        return said if said["samples"] is not None else said | {"samples": self._file("report", ".jsonl").name}

    def summary(self) -> str:
        """One line for the person who waits, with the folder if there is one."""
        return super().summary() if self.folder is None else f"{super().summary()} -> {self.folder}"

    # Batches come, and go into files

    def part(self, samples: Samples, chain_steps: int) -> Part:
        """A finished batch, of so many steps over all chains, with what is said of it."""
        stored = replace(samples, signals=self.medium.store(samples.signals))
        described = self._describe(stored)
        kept = [row for row, said in enumerate(described) if self._passes(said["log_prob"])]
        walked = tuple(dict.fromkeys(samples.seeds))
        return shards.select(Part.of(stored, described, walked, 0.0, chain_steps), kept, walked)

    def add(self, batch: Part, seconds: float) -> None:
        """Store a finished batch, for which one waited so long. Raises `InputError` where the system refuses."""
        for part in _split(replace(batch, seconds=seconds)):
            if self.folder is not None:
                part = self._write(part, self._file("batch", f"-{self._batches:05d}.safetensors"))
                self._batches += 1
            self._take(part)

    def save(self, folder: str | Path | None = None, *, overwrite: bool = False) -> None:
        """Write all files into `folder`, by default that of the run.

        Raises `InputError` where the system refuses, and where another folder holds the results of another run,
        unless they may be overwritten.
        """
        if folder is not None and Path(folder).expanduser() != self.folder:
            folder = Path(folder).expanduser()
            clear(folder, overwrite=overwrite)
            self.folder, self._listed = folder, {}
            moved, self.parts = self.parts, []
            for part in moved:
                self._take(replace(part, path=None, held=part.read()))
        if not self.parts:
            return
        paths.write(self._place / "config.yaml", paths.as_yaml(self.config))
        self._join(numbered=bool(self.job) or len(self) > shards.MOST)
        if len(self) > shards.MOST:
            lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in self._rows())
            paths.write(self._file("report", ".jsonl"), lines)
        paths.write(self._file("report", ".json"), _to_json(self.report()))
        if len(self):
            images.write(self._file("grid", ".png"), self.grid())
        else:
            self._file("grid", ".png").unlink(missing_ok=True)
        if not self.job:
            self._write_pictures()

    @property
    def pictures(self) -> list[Path]:
        """The file of every sample's picture, none where there are more than 64, or what is drawn is no picture."""
        if not 0 < len(self) <= TILES or not isinstance(self.medium, Pictures):
            return []
        paths, numbers = [], Counter[int]()
        for seed in self.seeds:
            several = f"-{numbers[seed]}" if len(self) > len(self.walked) else ""
            paths.append(self._place / PICTURES / f"seed-{seed:04d}{several}.png")
            numbers[seed] += 1
        return paths

    def _write_pictures(self) -> None:
        """Every picture in a file of its own, images/seed-0007.png, where there are 64 or fewer; else none."""
        if not self.pictures:
            self._unlink(_pictures(self._place))
            return
        for path, signal in zip(self.pictures, self.signals, strict=True):
            if not path.exists():
                self.medium.write(path.with_suffix(""), signal)

    def _take(self, part: Part) -> None:
        """Another part in memory, after those that are there are joined into a shard if they would be too many."""
        held = sum(one.count for one in self.parts if one.held)
        if self.folder is not None and held + part.count > shards.MOST:
            self._join(numbered=True)
            self.parts[-1:] = [replace(one, held=None) for one in self.parts[-1:]]
        self.parts.append(part)

    def _join(self, *, numbered: bool) -> None:
        """Join what is in memory into one file, list that, and delete the files it came from."""
        sealed, held = ([part for part in self.parts if bool(part.held) is known] for known in (False, True))
        if not held:
            return
        number = 1 + max((part.number for part in sealed if part.job == self.job), default=-1)
        path = self._file("samples", f"-{number:05d}.safetensors" if numbered else ".safetensors")
        if len(held) > 1 or held[0].path != path:
            if self._listed.pop(path.name, None):
                self._write_index()  # without the file that is replaced
            joined = replace(shards.join(held), seconds=seconds_of(held)) if len(held) > 1 else held[0]
            self.parts = [*sealed, self._write(joined, path)]
        if numbered and path.name not in self._listed:
            entry = {"rows": self.parts[-1].count, "bytes": path.stat().st_size, "sha256": folders.digest(path)}
            self._listed[path.name] = entry
            self._write_index()
        if not numbered:  # one file has all, so that no index is right any more
            self._unlink(shards.results(self._place, "index"))
        self._unlink({*self._replaced, *(part.path for part in held if part.path)} - {path})
        self._replaced = []

    def _unlink(self, found: Iterable[Path]) -> None:
        for path in found:
            path.unlink(missing_ok=True)

    def _write(self, part: Part, path: Path) -> Part:
        return part.save(path, self.settings, "images" if isinstance(self.medium, Pictures) else "signals")

    def _write_index(self) -> None:
        entries = ",\n".join(json.dumps({"file": name, **entry}) for name, entry in self._listed.items())
        paths.write(self._file("index", ".json"), f'{{"format": "ppgn-index-1", "shards": [\n{entries}\n]}}\n')

    @property
    def _place(self) -> Path:
        if self.folder is None:
            raise InputError("this run has no folder; give one: save(FOLDER)")
        return self.folder

    def _file(self, name: str, end: str) -> Path:
        """A file of this job."""
        return self._place / f"{name}{f'-{self.job}' if self.job else ''}{end}"

    def _passes(self, log_prob: float | None) -> bool:
        return self.threshold is None or (log_prob is not None and log_prob > math.log(self.threshold))

    def _describe(self, samples: Samples) -> list[dict[str, Any]]:
        """One row per sample, with what its condition says of the plain signal, without the sampler's random views."""
        target = self.about["target"]
        names = target if isinstance(target, list) else [target]
        said: dict[int, dict[str, Any]] = {}
        for index, condition in enumerate(self.conditions):
            rows = [row for row, asked in enumerate(samples.targets) if asked == index]
            said |= zip(rows, describe(condition, samples.signals[rows], self.medium), strict=True)
        columns = zip(samples.seeds, samples.targets, samples.steps, samples.log_prob.tolist(), strict=True)
        return self.judged(
            samples,
            [
                {"seed": seed, "target": names[asked], "step": step, "log_prob": finite(log_prob), **said[row]}
                for row, (seed, asked, step, log_prob) in enumerate(columns)
            ],
        )

    # Interrupted, and going on

    @property
    def tag(self) -> str:
        """The settings as text, by which an unfinished batch is recognised."""
        return json.dumps(self.settings)

    def chains(self, number: int) -> Path:
        """Where the state of an unfinished batch is."""
        return self._file("chains", f"-{number}.safetensors")

    def load(self) -> None:
        """Take over what earlier runs with the same settings saved in the folder: all, or what this job has.

        Raises `InputError` where the folder holds a run of other settings, and for a damaged file.
        """
        parts, dead = shards.scan(self._place)
        for part in parts:
            self._check_settings(part.settings)
        own = [part for part in parts if not self.job or part.job == self.job]
        others = [part for part in parts if part not in own]
        self.elsewhere = frozenset(seed for part in others for seed in part.walked)
        self._replaced = [p.path for p in dead if p.path and (not self.job or p.job == self.job)]
        listed, sizes = shards.index(self._place), {p.path.name: p.path.stat().st_size for p in own if p.path}
        self._listed = {name: entry for name, entry in listed.items() if entry["bytes"] == sizes.get(name)}
        small = not self.job and sum(part.count for part in own) <= shards.MOST
        last = max((part.number for part in own if part.job == self.job and not part.batch), default=-1)
        waiting = [p for p in own if small or p.batch or (p.job == self.job and p.number in (-1, last))]
        self.parts = [part for part in own if part not in waiting]
        for part in waiting:
            samples, rows = part.read()
            held = samples, self.judged(samples, rows)
            self._take(replace(part, held=held, sums=shards.sums(held[1])))
        self._batches = 1 + max((part.number for part in own if part.batch and part.job == self.job), default=-1)

    def load_unfinished(self) -> None:
        """Note the chains that stand in files. Raises `InputError` where they are of other settings, or damaged."""
        for path in shards.results(self._place, "chains", job=self.job or None):
            run = files.load(path, "ppgn-chains-2", advice=shards.ADVICE)[1]["run"]  # which checks its digest
            try:
                settings, seeds = json.loads(run["tag"]), tuple(map(int, run["seeds"]))
                self._check_settings(settings)
            except InputError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise InputError(f"'{path}' is damaged ({error}); {shards.ADVICE}") from error
            self.unfinished.append((path, seeds))

    def _check_settings(self, saved: Mapping[str, Any]) -> None:
        wanted = json.loads(self.tag)
        for key in sorted(wanted.keys() | saved.keys(), key=lambda key: (key.count("."), key)):
            was, now = (json.dumps(settings.get(key)) for settings in (saved, wanted))
            if was != now:
                said = f"{key} was {was}, now it is {now}"
                said = f"the {key} are no longer the same" if key.startswith("contents of") else said
                raise InputError(f"cannot resume the run in '{self.folder}': {said}; choose another out=FOLDER")

    def finish(self, seeds: Sequence[int]) -> None:
        """Save a run that is done, and clear away what jobs of it left that is no longer of use.

        Samples are put into the order of `seeds`, those of others in front, if all are in memory.
        """
        place = {seed: number for number, seed in enumerate(seeds)}
        walked = sorted(self.walked, key=lambda seed: place.get(seed, -1))
        if tuple(walked) != self.walked and all(part.held for part in self.parts):
            seconds = self.seconds
            self._replaced += [part.path for part in self.parts if part.path]
            joined = shards.join(self.parts)
            own = joined.read()[0].seeds
            order = sorted(range(len(own)), key=lambda row: place.get(own[row], -1))
            self.parts = [replace(shards.select(joined, order, walked), seconds=seconds)]
        self.save()
        left = shards.results(self._place, "chains", job=self.job or None)
        left += [] if self.job else [p for p in shards.results(self._place, "report", "grid") if shards.job_of(p)]
        self._unlink([*left, *self._place.glob(f"{self._file('.chains', '-*.part').name}")])


def clear(folder: Path, job: str = "", overwrite: bool = False, *, only_look: bool = False) -> None:
    """Delete what an earlier run left in a folder, but for what other jobs of the same count have there.

    Raises `InputError` where there are samples, unless they may be overwritten.
    """
    count = job.partition("of")[2]
    found = [
        p for p in shards.results(folder) if shards.job_of(p) == job or not shards.job_of(p).endswith(f"of{count}")
    ]
    samples = [path for path in found if path.name.startswith(("samples", "batch", "report"))]
    folders.check_free(samples, overwrite, "resume=true to go on with it")
    for path in found:
        if not only_look and (overwrite or path.name.startswith("chains")):
            path.unlink(missing_ok=True)
    for path in _pictures(folder) if overwrite and not job and not only_look else ():
        path.unlink(missing_ok=True)


def _pictures(folder: Path) -> list[Path]:
    """The files of single pictures that a run has written."""
    return [path for path in (folder / PICTURES).glob("seed-*.png") if re.fullmatch(r"seed-\d+(-\d+)?", path.stem)]


def _split(part: Part) -> Iterator[Part]:
    """The same in parts of at most `shards.MOST` samples, but for a seed that has more."""
    seeds = part.read()[0].seeds
    size = max(1, shards.MOST // max(Counter(seeds).values(), default=1))
    for first in range(0, len(part.walked), size):
        own = dict.fromkeys(part.walked[first : first + size])
        yield shards.select(part, [row for row, seed in enumerate(seeds) if seed in own], tuple(own))
        part = replace(part, seconds=0.0, chain_steps=0)


def _to_json(report: Mapping[str, Any]) -> str:
    """A report as JSON with one line for every entry and every sample."""
    text = partial(json.dumps, ensure_ascii=False)
    entries = {key: text(value) for key, value in report.items()}
    if isinstance(report["samples"], list):
        rows = ",\n".join(f"    {text(row)}" for row in report["samples"])
        entries["samples"] = f"[\n{rows}\n  ]"
    return "{\n" + ",\n".join(f"  {text(key)}: {value}" for key, value in entries.items()) + "\n}\n"
