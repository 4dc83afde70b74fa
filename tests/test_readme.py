"""What the README shows works as it stands: its Python runs, its commands are understood."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ppgn import paths
from ppgn.cli import config, help
from ppgn.contracts import Samples
from ppgn.model import PPGN

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
EXAMPLES = (
    "".join(text for language, text in BLOCKS if language != "python") + help.sample().partition("\nexamples\n")[2]
)
COMMANDS = [command.strip() for command in re.findall(r"\bppgn sample ([^#\n]*=[^#\n]*)", EXAMPLES)]


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Samples] = []
    sample = PPGN.sample

    def few(model: PPGN, condition: Any, seeds: Sequence[int]) -> Samples:
        drawn.append(sample(model, condition, seeds[:2], steps=2))
        return drawn[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PPGN, "sample", few)
    names: dict[str, Any] = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "README.md", "exec"), names)
    assert len(drawn) == 2
    assert all(len(samples) == 2 for samples in drawn)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    if "--multirun" in words:
        words.remove("--multirun")
        words = [f"{key}={first}" for key, (first, *_) in map(config.values, words)]
    settings, _ = config.compose("sample", words)
    assert config.leaves(settings)["target"]


def test_names_every_sampler_prior_and_experiment() -> None:
    for option in [*paths.options("sampler"), "gaussian", "joint", *paths.options("experiment")]:
        assert f"\n| `{option}` | " in README
