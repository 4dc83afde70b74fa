"""Memory that is freed stays with the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource
import torch
from ppgn.engines import memory
kept = memory.keep()
def work():
    for _ in range(20):
        torch.ones(8, 2**19) + torch.ones(8, 2**19)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[int, int]:
    known = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC", "GLIBC", "LD_PRELOAD"))}
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", FAULTS]
    said = subprocess.run(command, env=known | root | environment, capture_output=True, text=True, check=True).stdout
    kept, count = map(int, said.split())
    return kept, count


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_pages_are_asked_for_once() -> None:
    kept, few = faults()
    if not kept:
        pytest.skip("the C library is not glibc")
    assert few < 100  # without it 245,120 here in most runs


def test_whoever_chose_otherwise_is_left_alone() -> None:
    assert faults(MALLOC_TRIM_THRESHOLD_="1000000")[0] == 0
