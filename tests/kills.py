"""A program: draws into a folder while its processes are killed again and again, as (FOLDER KILLS JOBS SEED).

It says how many runs it were, how many kills, and how many of these struck within a batch whose state had been written.
Nothing has run in it before it forks, so that forks are safe.
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
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def draw(folder: Path, **more: Any) -> None:
    """What the processes do: batches of 3 into shards of 8, or all into one file."""
    torch.set_num_threads(1)
    shards.MOST = 100 if folder.name[-1] in "13579" else 8
    ppgn.sample(Red(), model=model(), seeds=SEEDS, batch_size=3, steps=120, prior="gaussian", out=folder, **more)


def start(folder: Path, **more: Any) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
        try:
            draw(folder, **more)
            status = 0
        finally:
            os._exit(status)
    return process


def ended(process: int, *, seconds: float = 0) -> int | None:
    """The exit status of a process, if it ends within so many seconds."""
    end = time.monotonic() + seconds
    while not (found := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() >= end:
            return None
        time.sleep(0.001)
    return found[1]


class Share:
    """One process at a time that draws a share of the seeds, and where its unfinished batch is written."""

    def __init__(self, place: Path, share: str | None) -> None:
        self.place, self.share, self.process = place, share, 0
        job = "" if share is None else f"-{share.replace('/', 'of')}"
        self.chains = place / f"chains{job}-0.safetensors"

    def start(self) -> None:
        self.started = time.time()
        self.process = start(self.place, shard=self.share, resume=True)

    def walks(self) -> bool:
        """Whether the process that runs has written the state of a batch that is not finished yet."""
        try:
            return self.chains.stat().st_mtime > self.started
        except FileNotFoundError:
            return False

    def strike(self, chance: random.Random, most: float) -> bool | None:
        """Stop the process, two times in three within a batch -> whether it was within one, None if it had ended."""
        end, wait, status = time.monotonic() + most, chance.uniform(0, 0.7) * most, None
        if chance.random() < 2 / 3:
            while not self.walks() and status is None and time.monotonic() < end:
                status = ended(self.process, seconds=0.0005)
            wait = chance.uniform(0, 0.02) * most
        if status is None and (status := ended(self.process, seconds=wait)) is None:
            within, sent = self.walks(), chance.choice(SIGNALS)
            os.kill(self.process, sent)
            status = ended(self.process, seconds=60)
            assert status is not None, f"goes on after {sent}"
            assert status in (0, sent) or sent == signal.SIGINT, (status, sent)
            return within
        assert status == 0, status
        return None


def main(folder: Path, kills: int, jobs: int, seed: int) -> None:
    """Leaves FOLDER/whole, undisturbed, and FOLDER/0, FOLDER/1, … that were killed, all finished."""
    chance = random.Random(seed)
    began = time.monotonic()
    names = [f"{k}/{jobs}" for k in range(1, jobs + 1)] if jobs > 1 else [None]
    for name in names:
        assert ended(start(folder / "whole", shard=name), seconds=600) == 0
    whole = (time.monotonic() - began) / jobs
    done, within, number = 0, 0, 0
    while done < kills:
        place = folder / str(number)
        number += 1
        for round in [names, [None]] if jobs > 1 else [names]:  # the last joins what the shares have drawn
            shares = [Share(place, name) for name in round]
            for share in shares:
                share.start()
            while shares:  # all at the same time
                share = chance.choice(shares)
                if done == kills:
                    assert ended(share.process, seconds=600) == 0
                    shares.remove(share)
                elif (struck := share.strike(chance, whole)) is None:
                    shares.remove(share)
                else:
                    done, within = done + 1, within + struck
                    share.start()
    print(number, done, within)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
