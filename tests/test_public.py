"""The public face: three names, found without importing anything slow before they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ppgn
from ppgn.model import PPGN, load
from ppgn.samplers import chains

LAZY = """
import sys
import ppgn
assert "torch" not in sys.modules
assert {"PPGN", "load", "sample"} <= set(dir(ppgn))
ppgn.load
assert "torch" in sys.modules
assert "hydra" not in sys.modules and "lightning" not in sys.modules
"""


def test_names_lead_home() -> None:
    assert (ppgn.PPGN, ppgn.load, ppgn.sample) == (PPGN, load, chains.sample)
    with pytest.raises(AttributeError, match="module 'ppgn' has no attribute 'smaple'"):
        _ = ppgn.smaple


def test_nothing_slow_is_imported_early() -> None:
    run = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
