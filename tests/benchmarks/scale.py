"""What storing costs a sample, what several workers are beside one thread, and what a start takes.

`checkpoints/scale.md` has the figures.

    python tests/benchmarks/scale.py storing [COUNT ...] [side=64]
    python tests/benchmarks/scale.py workers [devices=2 | cluster=local workers=2 ... | threads=2] [rounds=3]
    python tests/benchmarks/scale.py start [before=FOLDER] [rounds=5]

storing: every count in a process of its own, chains of one step through a tiny generator of pictures SIDE pixels wide;
CPU and wall seconds a sample of all that is written, peak memory, bytes and files. workers: a run in one process on one
thread and one by such workers, or threads, in turn: chain steps a second of the drawing, seconds before and after it,
CPU seconds of all processes and of the chain steps alone (a run of one step does the rest), and the share of the
machine that others used before. start: CPU seconds of `ppgn sample target=goldfish seeds=0 steps=1` on one thread, from
the start of Python to its end, in turn with that of another checkout and with `import torch` alone; a round before them
does not count. What is remembered of the photographs that suit the class is there, but for "first".
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

import ppgn
from ppgn.model import PPGN
from ppgn.runs import Run

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["target=junco", "seeds=0-15", "batch_size=4", "sampler=annealed", "judge=none"]


def storing(count: int, side: int = 4) -> dict[str, Any]:
    """What storing so many samples costs. To be called first in a process, whose memory it tells."""
    from tests.test_sampling import Red
    from tests.tiny import TinyEncoder, TinyGenerator

    class Wide(TinyGenerator):
        signal_shape = (3, side, side)

        def forward(self, h: torch.Tensor) -> torch.Tensor:
            return super().forward(h).repeat(1, 1, side // 4, side // 4)

    model = PPGN(Wide(dtype=torch.float32), TinyEncoder(dtype=torch.float32)).requires_grad_(False).eval()
    spent = {"cpu": 0.0, "wall": 0.0}

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*given: Any) -> Any:
            cpu, wall = time.process_time(), time.perf_counter()
            inner = dict(spent)
            found = original(*given)
            # `finish` calls `save`, which is counted once
            spent["cpu"] = inner["cpu"] + time.process_time() - cpu
            spent["wall"] = inner["wall"] + time.perf_counter() - wall
            return found

        return call

    torch.set_num_threads(1)
    for name in ("add", "save", "finish"):
        setattr(Run, name, timed(getattr(Run, name)))
    with tempfile.TemporaryDirectory() as folder:
        ppgn.sample(Red(), model=model, seeds=range(count), steps=1, batch_size=8, prior="gaussian", out=folder)
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in found)
        assert len(ppgn.open_samples(folder)) == count
    return {
        "samples": count,
        "side": side,
        "cpu_ms_per_sample": round(1000 * spent["cpu"] / count, 4),
        "wall_ms_per_sample": round(1000 * spent["wall"] / count, 4),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "bytes_per_sample": round(size / count, 1),
        "files": len(found),
    }


def busy(seconds: float = 3.0) -> float:
    """How much of the machine others use, 0 to 1."""

    def ticks() -> tuple[int, int]:
        numbers = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = ticks()
    time.sleep(seconds)
    later, rest = ticks()
    return 1 - (rest - idle) / max(later - total, 1)


def drawn(*more: str, steps: int = 30) -> dict[str, Any]:
    """A run of `WORDS` and more, with one thread a worker, or as many as threads=N says."""
    threads = next((word[8:] for word in more if word.startswith("threads=")), "1")
    more = tuple(word for word in more if not word.startswith("threads="))
    others, started, before = busy(), time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "ppgn", "sample", *WORDS, f"steps={steps}", *more, f"out={folder}/o"]
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        subprocess.run(line, env=environment, check=True, capture_output=True, cwd=folder)
        said = json.loads(Path(folder, "o", "report.json").read_text())
    whole, spent = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "words": list(more),
        "threads": int(threads),
        "chain_steps_per_second": said["chain_steps_per_second"],
        "seconds_before_and_after": round(whole - said["seconds"], 2),
        "cpu_seconds": round(spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime, 2),
        "others": round(others, 2),
    }


def start(rounds: int, before: str | None) -> dict[str, Any]:
    """What starts take, least to most."""
    sample = ["-m", "ppgn", "sample", "target=goldfish", "seeds=0", "steps=1"]
    ways: dict[str, tuple[str | None, list[str]]] = {"now": (str(ROOT), sample), "first": (str(ROOT), sample)}
    ways["as before"] = str(ROOT), [*sample, "sampler=annealed", "judge=none"]
    ways["torch"] = None, ["-c", "import torch"]
    ways |= {"before": (before, sample)} if before else {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-1, rounds):
            for name, (place, line) in ways.items():
                cache = f"{folder}/first{number}" if name == "first" else f"{folder}/cache"
                environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "XDG_CACHE_HOME": cache}
                environment |= {"PYTHONPATH": place} if place else {}
                more = [f"out={folder}/{name}{number}"] if place else []
                then = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(
                    [sys.executable, *line, *more], env=environment, cwd=folder, check=True, capture_output=True
                )
                spent = resource.getrusage(resource.RUSAGE_CHILDREN)
                if number >= 0:
                    seconds[name].append(spent.ru_utime + spent.ru_stime - then.ru_utime - then.ru_stime)
    told = {name: [round(value, 2) for value in sorted(values)] for name, values in seconds.items()}
    ratios = {name: [a / b for a, b in zip(seconds[name], seconds["before"], strict=True)] for name in ways if before}
    return {"cpu_seconds": told} | {f"{n}_of_before": round(statistics.median(r), 3) for n, r in ratios.items()}


def main(words: list[str]) -> None:
    """See above."""
    what, *more = words
    if what == "start":
        rounds = next((int(word[7:]) for word in more if word.startswith("rounds=")), 5)
        print(json.dumps(start(rounds, next((word[7:] for word in more if word.startswith("before=")), None))))
        return
    if what == "storing":
        side = next((int(word[5:]) for word in more if word.startswith("side=")), 4)
        for count in [int(word) for word in more if word.isdigit()] or [1000, 100000]:
            code = (
                f"import json; from tests.benchmarks.scale import storing; print(json.dumps(storing({count}, {side})))"
            )
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        return
    rounds = next((int(word[7:]) for word in more if word.startswith("rounds=")), 3)
    engine, ratios = [word for word in more if not word.startswith("rounds=")] or ["devices=2"], []
    for _ in range(rounds):
        one, several = drawn(), drawn(*engine)
        ratios.append(several["chain_steps_per_second"] / one["chain_steps_per_second"])
        runs: list[tuple[dict[str, Any], list[str]]] = [(one, []), (several, engine)]
        steps = [run["cpu_seconds"] - drawn(*words, steps=1)["cpu_seconds"] for run, words in runs]
        told = {"ratio": round(ratios[-1], 3), "cpu_of_the_steps": [round(value, 2) for value in steps]}
        print(json.dumps({"one": one, "several": several, **told}), flush=True)
    print(json.dumps({"engine": engine, "median_ratio": round(statistics.median(ratios), 3)}))


if __name__ == "__main__":
    main(sys.argv[1:])
