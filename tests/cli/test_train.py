"""`ppgn train`: which programs there are, and what is said where one cannot run."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ppgn import paths
from ppgn.cli import main, train


def test_an_unknown_program_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "genrator"]) == 2
    err = capsys.readouterr().err
    assert "generator" in err
    assert err.count("\n") == 1


def test_a_missing_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name == "train" or name.startswith("train.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    for name in [name for name in sys.modules if name.startswith("torchmetrics.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["train", "captioner", "data.root=nowhere"]) == 2
    assert "pip install 'ppgn[train]'" in capsys.readouterr().err


def test_another_module_of_that_name_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("train")
    other.__path__ = ["/elsewhere"]
    monkeypatch.setitem(sys.modules, "train", other)
    train._import()
    assert list(sys.modules["train"].__path__) == [str(paths.train())]


def test_an_interruption_says_what_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*_: object) -> None:
        raise KeyboardInterrupt("step 3 is finished")

    monkeypatch.setattr("train.generator.run", run)
    assert main(["train", "generator", "data.root=nowhere"]) == 130
    assert capsys.readouterr().err == "ppgn: interrupted; step 3 is finished\n"
