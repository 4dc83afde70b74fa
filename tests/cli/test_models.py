"""`ppgn models` lists what `model=` and `condition=` take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppgn import paths
from ppgn.cli import main


def test_lists_checkpoints_and_conditions(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "checkpoints", lambda: tiny)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["MODEL", "CODE", "IMAGE", "SIZE", "DESCRIPTION"]
    assert lines[1].split() == ["model", "8", "3x16x16", "0.0", "MB", "random", "weights"]
    conditions = [line.split()[0] for line in lines[4:]]
    assert conditions == paths.options("condition")
    assert "ImageNet" in next(line for line in lines if line.startswith("imagenet"))
