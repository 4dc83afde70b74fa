"""How many photographs a second one core reads for training: arrays in memory beside .tar files of PNG and JPEG.

    python tests/benchmarks/streaming.py [data=FOLDER] [images=20000] [size=64] [rounds=5]

FOLDER holds train_images.npy; without one, noise. Each round reads 2,000 of each in turn; CPU seconds, so that a busy
machine changes little. Then each reads all in a process of its own, whose memory is told; the last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppgn.cli import main as ppgn
from train.data import ArrayData
from train.streams import ShardData

BATCH, EACH = 50, 2000
KINDS: dict[str, list[str]] = {"png": [], "jpeg": ["quality=95"]}


def opened(kind: str, folder: Path, size: int) -> Any:
    """Endless batches."""
    torch.set_num_threads(1)
    if kind == "arrays":
        return iter(ArrayData(str(folder), ["set"], BATCH).train_dataloader())
    return iter(ShardData(str(folder / kind), size, BATCH, workers=0).train_dataloader())


def read(batches: Any, count: int) -> float:
    """CPU seconds for `count` photographs."""
    start = time.process_time()
    assert sum(len(x) for x, _ in islice(batches, count // BATCH)) == count
    return time.process_time() - start


def peak(kind: str, folder: Path, size: int, count: int) -> None:
    """Print the memory that reading `count` photographs takes beside the imports, in MB."""

    def used() -> int:
        return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024

    before = used()
    read(opened(kind, folder, size), count)
    print(used() - before)


def main(words: list[str]) -> None:
    """See above."""
    given = dict(word.split("=") for word in words)
    count, size = int(given.get("images", 20000)), int(given.get("size", 64))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "set").mkdir()
        images = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
        if "data" in given:
            images = np.load(Path(given["data"]) / "train_images.npy", mmap_mode="r")[:count]
        np.save(folder / "set" / "train_images.npy", images)
        del images
        found: dict[str, Any] = {kind: {} for kind in ("arrays", *KINDS)}
        for kind, more in KINDS.items():
            start = time.process_time()
            assert ppgn(["train", "pack", f"data={folder}/set", f"out={folder / kind}", f"size={size}", *more]) == 0
            found[kind]["packed_per_second"] = round(count / (time.process_time() - start))
        for kind in found:
            place = folder / ("set" if kind == "arrays" else kind)
            found[kind]["bytes"] = round(sum(path.stat().st_size for path in place.iterdir()) / count)
            code = f"import sys; sys.path.insert(0, {sys.path[0]!r}); from pathlib import Path; "
            code += f"from tests.benchmarks.streaming import peak; peak({kind!r}, Path({name!r}), {size}, {count})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            found[kind]["MB"] = int(done.stdout)
        sources = {kind: opened(kind, folder, size) for kind in found}
        rounds = []
        for _ in range(int(given.get("rounds", 5))):
            rounds.append({kind: EACH / read(source, EACH) for kind, source in sources.items()})
            print({kind: round(speed) for kind, speed in rounds[-1].items()}, flush=True)
    for kind, told in found.items():
        told["images_per_second"] = round(statistics.median(each[kind] for each in rounds))
        told["of_arrays"] = round(statistics.median(each[kind] / each["arrays"] for each in rounds), 4)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
