"""Sweeps: a run for every combination of values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ppgn.cli import config, main
from ppgn.cli.multirun import multirun

Run = Callable[..., int]


def test_every_combination_is_a_run_with_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[list[str]] = []

    def run(words: list[str]) -> int:
        ran.append(words)
        return 2 if "seeds=0-1" in words else 0

    words = ["sample", "-m", "target=golden retriever,goldfish", "seeds=0-1,[3,5]", "init=null", "hydra.sweep.dir=here"]
    assert multirun(words, run) == 2
    read = [config.read(own[0], own[1:])[1] for own in ran]
    assert [(given["target"], given["seeds"]) for given in read] == [
        ("golden retriever", "0-1"),
        ("golden retriever", [3, 5]),
        ("goldfish", "0-1"),
        ("goldfish", [3, 5]),
    ]
    assert [given["out"] for given in read] == [f"{tmp_path}/here/{number}" for number in range(4)]


def test_training_programs_are_swept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[list[str]] = []
    words = ["train", "prior", "-m", "data.root=x", "prior.width=8,16", "hydra.sweep.dir=here"]
    assert multirun(words, lambda own: ran.append(own) or 0) == 0  # type: ignore[func-returns-value]
    assert [own[:4] for own in ran] == [["train", "prior", "data.root=x", f"prior.width={n}"] for n in (8, 16)]


def test_a_sweep_of_samples(sample: Run) -> None:
    assert sample("target=1", "sampler.epsilon2=1,3", "seeds=0", "--multirun", "hydra.sweep.dir=sweep") == 0
    settings = [OmegaConf.load(f"sweep/{number}/config.yaml") for number in (0, 1)]
    assert [said.sampler.epsilon2 for said in settings] == [1, 3]


def test_a_run_that_cannot_be_is_said_and_the_others_go_on(sample: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=1,7", "seeds=0", "--multirun", "hydra.sweep.dir=sweep") == 2
    assert Path("sweep/0/grid.png").exists()
    assert "class index 7 is out of range" in capsys.readouterr().err.splitlines()[-1]


def test_what_no_run_could_use_is_refused_before_any(sample: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=1,2", "sampler.epsilon=3", "--multirun") == 2
    assert capsys.readouterr().err.startswith("ppgn: unknown key 'sampler.epsilon'; nearest: sampler.epsilon")
    assert main(["sample", "--multirun", "target=goldfish", "x"]) == 2
    assert not Path("multirun").exists()
