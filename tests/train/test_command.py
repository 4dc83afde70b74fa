"""The command lines of the training scripts, as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.train.test_generator import ROOT


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("generator", ["experiment=natural64_cpu"], "data.root is missing: add data.root=VALUE"),
        ("prior", [], "data.root is missing: add data.root=VALUE"),
        ("captioner", [], "data.root is missing: add data.root=VALUE"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(name: str, words: list[str], said: str) -> None:
    ran = subprocess.run(
        [sys.executable, f"train/{name}.py", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == f"train/{name}.py: {said}\n"
