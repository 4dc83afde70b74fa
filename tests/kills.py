"""A program: draws into a folder while its process is killed again and again, as (FOLDER KILLS JOBS SEED).

It says how many of the kills struck within a batch. Nothing has run in it before it forks, so that forks are safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

import ppgn
from ppgn import shards
from tests.test_sampling import Red, model

SEEDS = range(18)


def draw(folder: Path, **more: Any) -> None:
    """What the processes do: batches of 3 into shards of 8, or all into one file."""
    torch.set_num_threads(1)
    shards.MOST = 100 if folder.name[-1] in "13579" else 8
    ppgn.sample(Red(), model=model(), seeds=SEEDS, batch_size=3, steps=120, prior="gaussian", out=folder, **more)


def start(folder: Path, **more: Any) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            draw(folder, **more)
            status = 0
        finally:
            os._exit(status)
    return process


def finished(process: int, seconds: float) -> bool:
    """Whether a process ends well within so many seconds; it is killed where it does not end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := os.waitpid(process, os.WNOHANG))[0]:
            assert found[1] == 0, found
            return True
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def main(folder: Path, kills: int, jobs: int, seed: int) -> None:
    """Leaves FOLDER/whole, undisturbed, and FOLDER/0, FOLDER/1, … that were killed, all finished."""
    chance = random.Random(seed)
    began = time.monotonic()
    shares = [f"{k}/{jobs}" for k in range(1, jobs + 1)] if jobs > 1 else [None]
    for share in shares:
        assert finished(start(folder / "whole", shard=share), 600)
    whole = time.monotonic() - began
    done, within, number = 0, 0, 0
    while done < kills:
        place, left = folder / str(number), dict.fromkeys(shares)
        number += 1
        while left:
            share = chance.choice(list(left))
            process = start(place, shard=share, resume=True)
            if finished(process, chance.uniform(0, 0.7) * whole / jobs if done < kills else 600):
                del left[share]
            else:
                done += 1
                within += any(place.glob("chains*"))
        while not finished(start(place, resume=True), chance.uniform(0, 0.3) * whole if done < kills else 600):
            done += 1
    print(number, done, within)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
