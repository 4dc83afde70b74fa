"""Samples on disk: files of at most 4,096 rows, and a folder of them as one sequence.

samples.safetensors holds the rows of a small run, samples-00000.safetensors, samples-00001.safetensors, … those of a
large one, with index.json that tells rows, bytes and SHA-256 of each. Job 3 of 8 of a run writes samples-3of8-….
batch-….safetensors are finished batches that wait to be joined into a shard. Every file tells in its metadata which
seeds it holds, so the folder can be read at any moment, whatever was interrupted.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ppgn import files, folders
from ppgn.contracts import Medium, Samples
from ppgn.errors import InputError, check_known
from ppgn.media.medium import Pictures, Signals

FORMAT = "ppgn-samples-2"
MOST = 4096  # rows of a file
EXPORTS = ("webdataset", "folder")
ADVICE = "delete it or choose another out=FOLDER"
COLUMNS = ("seeds", "targets", "steps")
MEANS = ("log_prob", "prob")  # what a report has the means of
_NAME = re.compile(r"(samples|batch|chains|index|report|grid)(?:-(\d+of\d+))?(?:-(\d+))?\.(?:safetensors|jsonl?|png)")
_PROGRESS = {"walked": list, "failed": list, "count": int, "seconds": (int, float), "chain_steps": int, "sums": dict}


@dataclass(frozen=True)
class Part:
    """Seeds that are finished: what is known of their samples, and the samples themselves, here or in a file."""

    walked: tuple[int, ...]
    failed: tuple[int, ...]
    count: int  # of samples
    seconds: float
    chain_steps: int
    sums: Mapping[str, Sequence[float]]  # of each of MEANS and other `figures`: sum and number of the known values
    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    held: tuple[Samples, list[dict[str, Any]]] | None = field(default=None, repr=False)

    @staticmethod
    def of(
        samples: Samples, rows: Sequence[Mapping[str, Any]], walked: Sequence[int], seconds: float, steps: int
    ) -> Part:
        """A part in memory: samples as stored, a row of the report each, the seeds, and the work they were."""
        held = samples, [dict(row) for row in rows]
        return Part(tuple(walked), samples.failed, len(samples), seconds, steps, sums(rows), held=held)

    @property
    def job(self) -> str:
        """The job that wrote the file, as 3of8; "" for a run in one process."""
        return "" if self.path is None else job_of(self.path)

    @property
    def batch(self) -> bool:
        """Whether it waits in a file of its own to be joined into a shard."""
        return self.path is not None and self.path.name.startswith("batch-")

    @property
    def number(self) -> int:
        """That in the file's name, -1 where there is none."""
        match = _NAME.fullmatch(self.path.name) if self.path else None
        return int(match[3]) if match and match[3] else -1

    def read(self) -> tuple[Samples, list[dict[str, Any]]]:
        """The samples, and what the report says of each. Raises `InputError` for a file that is damaged."""
        if self.held is not None:
            return self.held
        assert self.path is not None
        tensors, _ = files.load(self.path, FORMAT, advice=ADVICE)
        try:
            columns = {name: tuple(tensors[name].tolist()) for name in COLUMNS}
            signals = tensors["images"] if "images" in tensors else tensors["signals"]
            rows = [json.loads(line) for line in bytes(tensors["rows"].numpy()).splitlines()]
            samples = Samples(signals, tensors["codes"], tensors["log_prob"], **columns, failed=self.failed)
            lengths = {len(value) for value in (*columns.values(), signals, samples.codes, samples.log_prob, rows)}
            if lengths != {self.count} or not all(isinstance(row, dict) for row in rows):
                raise ValueError(f"columns of {sorted(lengths)} rows, expected {self.count}")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"'{self.path}' is damaged ({error}); {ADVICE}") from error
        return samples, rows

    def save(self, path: Path, settings: Mapping[str, Any], name: str) -> Part:
        """Write the part into a file, with the signals under `name` -> the part with its path."""
        samples, rows = self.read()
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
        tensors = {name: samples.signals, "codes": samples.codes, "log_prob": samples.log_prob}
        tensors |= {column: torch.tensor(getattr(samples, column), dtype=torch.int64) for column in COLUMNS}
        tensors["rows"] = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(0).byte()
        progress = {key: getattr(self, key) for key in _PROGRESS}
        files.save(path, tensors, FORMAT, settings=settings, progress=progress)
        return replace(self, path=path)


def figures(row: Mapping[str, Any]) -> dict[str, float]:
    """What of a row of the report has a mean: of MEANS what is known, and behind a judge's name what it says.

    That is its "prob", whether its first guess or one of its five best is what was asked for, "top1" and "top5", and
    whether the condition is "sure" of that, p > 1/2.
    """
    found = {name: row[name] for name in MEANS if row.get(name) is not None}
    if said := row.get("judge"):
        own = {"prob": said["prob"], "top1": float(said["rank"] == 1), "top5": float(said["rank"] <= 5)}
        own["sure"] = float(found.get("log_prob", -math.inf) > -math.log(2))
        found |= {f"{said['network']} {name}": value for name, value in own.items()}
    return found


def sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[float]]:
    """Of all figures of rows: the sum and the number of the values."""
    known: dict[str, list[float]] = {name: [] for name in MEANS}
    for name, value in (figure for row in rows for figure in figures(row).items()):
        known.setdefault(name, []).append(value)
    return {name: [sum(values), len(values)] for name, values in known.items()}


def job_of(path: Path) -> str:
    """The job that a file of a run is of, as 3of8; "" for one of a run in one process."""
    match = _NAME.fullmatch(path.name)
    return (match and match[2]) or ""


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one in memory."""
    read = [part.read() for part in parts]
    samples, rows = Samples.concatenate([samples for samples, _ in read]), [row for _, said in read for row in said]
    walked = [seed for part in parts for seed in part.walked]
    return Part.of(samples, rows, walked, sum(p.seconds for p in parts), sum(p.chain_steps for p in parts))


def select(part: Part, rows: Sequence[int], walked: Sequence[int]) -> Part:
    """A part in memory of some rows, in the order given, with the seeds `walked`."""
    samples, said = part.read()
    chosen: dict[str, Any] = {n: getattr(samples, n)[list(rows)] for n in ("signals", "codes", "log_prob")}
    chosen |= {name: tuple(getattr(samples, name)[row] for row in rows) for name in COLUMNS}
    chosen["failed"] = tuple(seed for seed in walked if seed in samples.failed)
    return Part.of(Samples(**chosen), [said[row] for row in rows], walked, part.seconds, part.chain_steps)


def head(path: Path) -> Part:
    """What a file of samples says of itself, without its tensors. Raises `InputError` for one that is damaged."""
    metadata = files.head(path, FORMAT, advice=ADVICE)
    progress, settings = metadata["progress"], metadata["settings"]
    try:
        if not isinstance(settings, dict):
            raise TypeError("settings that are none")
        if not all(isinstance(progress[key], kind) for key, kind in _PROGRESS.items()):  # type: ignore[arg-type]
            raise TypeError("progress that is none")
        known: dict[str, Any] = {key: progress[key] for key in _PROGRESS}
        known |= {key: tuple(map(_whole, known[key])) for key in ("walked", "failed")}
        keys = {**dict.fromkeys(MEANS), **known["sums"]}
        known["sums"] = {key: (float(known["sums"][key][0]), _whole(known["sums"][key][1])) for key in keys}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"'{path}' is damaged ({error}); {ADVICE}") from error
    return Part(**known, path=path, settings=settings)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def scan(folder: Path) -> tuple[list[Part], list[Part]]:
    """The parts in a folder, each seed once, shards first, and those all of whose seeds stand in others.

    The folder may be written to meanwhile. Raises `InputError` for a damaged file and for one that is gone.
    """
    for _ in range(100):
        found = sorted(results(folder, "samples", "batch"), key=_order)
        lacking = sorted(set(index(folder)) - {path.name for path in found})
        try:
            parts = [head(path) for path in found]
        except InputError:
            if all(path.exists() for path in found):
                raise
            continue  # joined into a shard meanwhile
        if not lacking:
            break
    else:
        raise InputError(f"'{folder / lacking[0]}' is gone, though the index lists it; get it again, or {ADVICE}")
    seen: set[int] = set()
    alive: list[Part] = []
    dead: list[Part] = []
    for part in parts:
        (alive if not part.walked or not seen.issuperset(part.walked) else dead).append(part)
        seen.update(part.walked)
    return alive, dead


def results(folder: Path, *kinds: str, job: str | None = None) -> list[Path]:
    """The files of a run in a folder, sorted: of some kinds, by default all, and of one job or of all jobs."""
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted(folder.glob("*")))
    fits = ((path, match[1], match[2] or "") for path, match in found if match)
    return [path for path, kind, own in fits if kind in (kinds or (kind,)) and job in (None, own)]


def _order(path: Path) -> tuple[Any, ...]:
    """Numbered shards of one process, samples.safetensors, shards of jobs, batches."""
    match = _NAME.fullmatch(path.name)
    kind, job, number = match.groups() if match else ("samples", None, None)
    return kind == "batch", bool(job), number is None, job or "", int(number or 0), path.name


def index(folder: Path) -> dict[str, Any]:
    """All that the indices of a folder list: by file, its rows, bytes and SHA-256. Raises `InputError` for damage."""
    listed: dict[str, Any] = {}
    for path in results(folder, "index"):
        try:
            shards = json.loads(path.read_text())["shards"]
            listed |= {entry["file"]: {k: entry[k] for k in ("rows", "bytes", "sha256")} for entry in shards}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"'{path}' is damaged ({error}); delete it: it is written anew by resume=true") from error
    return listed


def open_samples(folder: str | Path) -> Stored:
    """The samples in a folder that `sample` writes or has written, read when asked for. Raises `InputError`."""
    return Stored(Path(folder).expanduser())


class Stored(Sequence[Any]):
    """Samples in a folder as a sequence, of which nothing is read before it is asked for; a `torch` data set.

    An index gives a mapping: image uint8 (3, H, W), or signal, code, log_prob, seed, target (its number), step. A slice
    gives `Samples`. They stand in the order in which their files were written. Raises `InputError` for a folder without
    samples and for damaged files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = scan(folder)[0]
        if not self.parts:
            raise InputError(f"'{folder}' holds no samples; give a folder that ppgn sample wrote")
        self.ends = list(accumulate(part.count for part in self.parts))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, place: Any) -> Any:
        rows = range(len(self))[place]  # raises IndexError
        if isinstance(rows, range):
            if rows.step == 1:
                return self._between(rows.start, max(rows.start, rows.stop))
            return Samples.concatenate([self._between(row, row + 1) for row in rows] or [self._between(0, 0)])
        one = self._between(rows, rows + 1)
        found = {"image" if one.signals.dtype == torch.uint8 else "signal": one.signals[0], "code": one.codes[0]}
        return found | {
            "log_prob": one.log_prob[0],
            "seed": one.seeds[0],
            "target": one.targets[0],
            "step": one.steps[0],
        }

    def _between(self, first: int, last: int) -> Samples:
        """Rows `first` to `last`, of one file at least."""
        found: list[Samples] = []
        for part, end in zip(self.parts, self.ends, strict=True):
            start = end - part.count
            if (start < last and first < end) or (first >= last and not found):
                found.append(_slice(part, max(first - start, 0), max(min(last, end) - start, 0)))
        return Samples.concatenate(found)

    def check(self) -> None:
        """Compare every shard with its digest in the index. Raises `InputError` that names the first that differs."""
        for name, entry in index(self.folder).items():
            if folders.digest(self.folder / name) != entry["sha256"]:
                raise InputError(f"'{self.folder / name}' is damaged: its SHA-256 is not that of the index; {ADVICE}")

    def export(self, kind: str, folder: str | Path | None = None, medium: Medium | None = None, job: str = "") -> Path:
        """Write the samples for other programs -> the folder, by default one named `kind` below that of the samples.

        kind: "folder", a file each, as seed00000007-0.png with what is said of it in .json; or "webdataset", the same
        in a .tar for every shard. job: of a part of a run, as 3of8, the shards of that part alone.
        """
        check_known("export", kind, EXPORTS)
        place = self.folder / kind if folder is None else Path(folder).expanduser()
        try:
            for part in self.parts:
                if part.path is None or (job and part.job != job):
                    continue
                if kind == "folder":
                    _write(part, place, medium)
                    continue
                place.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=place) as work:
                    packed = Path(work) / "shard"
                    with tarfile.open(packed, "w") as archive:
                        for path in _write(part, Path(work), medium):
                            archive.add(path, path.name)
                    packed.replace(place / f"{part.path.stem}.tar")
        except OSError as error:
            raise InputError(f"cannot write '{place}': {error.strerror}; make room or choose another place") from error
        return place


def _write(part: Part, place: Path, medium: Medium | None) -> list[Path]:
    """Every sample of a part as a file of its medium and a .json -> their paths."""
    samples, rows = part.read()
    medium = medium or (Pictures() if samples.signals.dtype == torch.uint8 else Signals())
    place.mkdir(parents=True, exist_ok=True)
    written, numbers = [], dict.fromkeys(samples.seeds, 0)
    for signal, seed, row in zip(samples.signals, samples.seeds, rows, strict=True):
        stem = place / f"seed{seed:08d}-{numbers[seed]}"
        numbers[seed] += 1
        written += [medium.write(stem, signal), stem.with_name(f"{stem.name}.json")]
        written[-1].write_text(json.dumps(row, ensure_ascii=False))
    return written


def _slice(part: Part, first: int, last: int) -> Samples:
    """Rows of a part, read from its file. Raises `InputError` where that is gone or damaged."""
    assert part.path is not None
    try:
        file = _opened(part.path, part.path.stat().st_mtime_ns)
        name = "images" if "images" in file.keys() else "signals"  # noqa: SIM118 (it is no mapping)
        tensors = [file.get_slice(key)[first:last] for key in (name, "codes", "log_prob")]
        columns: dict[str, Any] = {key: tuple(file.get_slice(key)[first:last].tolist()) for key in COLUMNS}
        columns["failed"] = tuple(seed for seed in part.failed if seed in columns["seeds"])
        return Samples(*tensors, **columns)
    except FileNotFoundError as error:
        raise InputError(f"'{part.path}' has been joined with others; open the folder again") from error
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"'{part.path}' is damaged ({error}); {ADVICE}") from error


@lru_cache(maxsize=16)
def _opened(path: Path, stamp: int) -> Any:
    return safe_open(path, "pt").__enter__()
