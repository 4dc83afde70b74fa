"""`ppgn search` end to end on tiny networks: what the function finds, in files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppgn
from ppgn.cli import main

SCORE = "def red(pictures):\n    return pictures[:, 0].mean((1, 2))\n"
FEW = ["generations=3", "population=6", "device=cpu"]


@pytest.fixture
def words(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tiny model, in an empty folder with a score."""
    pytest.importorskip("cmaes", reason="the extra search is not installed")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SCORE)
    return [f"model={tiny}/model.safetensors", *FEW]


def test_a_function_in_a_file_scores(words: list[str], tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "score=mine.py:red", *words]) == 0
    assert "3 generations of 6" in capsys.readouterr().out
    given = {"model": tiny / "model.safetensors", "generations": 3, "population": 6, "device": "cpu"}
    done = ppgn.evolve("mine.py:red", **given)
    again = ppgn.Search(tiny / "model.safetensors", "natural", 6, device="cpu")
    again.load("outputs/search/search.safetensors")
    assert torch.equal(again.codes, done.codes)
    assert main(["search", "score=mine.py:red", *words, "resume=true", "generations=4"]) == 0


def test_a_condition_scores(words: list[str], tiny: Path) -> None:
    judge = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "target=1"]
    assert main(["search", *judge, *words, "method=genetic", "out=o"]) == 0
    assert Path("o/best.png").exists()


def test_two_functions_make_a_front(words: list[str]) -> None:
    assert main(["search", "score=[mine.py:red,mine.py:red]", *words, "method=random", "out=o"]) == 0


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ([], "score="),
        (["score=mine.py:blue"], "blue"),
        (["score=mine.py:red", "method=cmeas"], "cmaes"),
        (["exchange=rig", "timeout=0.05"], "scores.csv"),
        (["score=mine.py:red", "population=many"], "population"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], more: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words, *more]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ppgn: ")]
    assert len(error) == 1
    assert word in error[0]
