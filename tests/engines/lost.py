"""A program: draws with 4 workers, of which one is killed at random moments, as (FOLDER KILLS ENGINE SEED).

ENGINE is cluster=local or devices=4. It says how many runs it were, how many workers were killed, how many of these
within a batch whose state had been written, and compares all that was drawn with what an undisturbed process draws.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import write_tiny
from tests.engines.test_processes import ROOT, assert_same

SEEDS = 16


def command(folder: Path, out: Path, *more: str) -> list[str]:
    words = [f"model={folder}/model.safetensors", "condition=torchscript", f"condition.path={folder}/classifier.ts"]
    words += ["condition.size=16", "target=1", f"seeds=0-{SEEDS - 1}", "batch_size=2", "device=cpu", "judge=none"]
    words += ["precision=float64", "prior=gaussian", "steps=120", f"out={out}", *more]
    return [sys.executable, "-m", "ppgn", "sample", *words]


def workers(parent: int) -> list[int]:
    """The workers among the descendants of a process."""
    found, waiting = [], [parent]
    while waiting:
        number = waiting.pop()
        try:
            waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
            line = Path(f"/proc/{number}/cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [number] * (line.startswith("ray::_Worker") or "spawn_main" in line)
    return found


def main(folder: Path, kills: int, engine: str, seed: int) -> None:
    """Leaves FOLDER/whole, undisturbed, and FOLDER/0, FOLDER/1, … that lost workers. Raises where they differ."""
    chance, environment = random.Random(seed), os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    folder.mkdir(parents=True, exist_ok=True)
    write_tiny(folder)
    began = time.monotonic()
    subprocess.run(command(folder, folder / "whole"), env=environment, check=True, stderr=subprocess.DEVNULL)
    alone = time.monotonic() - began
    more = [engine, *(["workers=4"] if engine.startswith("cluster") else ["oversubscribe=true"])]
    done = within = number = 0
    while done < kills:
        out = folder / str(number)
        with tempfile.TemporaryFile("w+") as said:
            run = subprocess.Popen(command(folder, out, *more), env=environment, stderr=said)
            while run.poll() is None and done < kills:
                time.sleep(chance.uniform(0, alone / 2))
                if out.exists() and run.poll() is None and (found := workers(run.pid)):
                    within += bool(list(out.glob("chains-*.safetensors")))
                    os.kill(chance.choice(found), signal.SIGKILL)
                    done += 1
            status = run.wait()
            said.seek(0)
            assert status == 0, said.read()
        assert_same(folder / "whole", out)
        number += 1
    print(f"{number} runs, {done} kills, {within} within a batch")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
