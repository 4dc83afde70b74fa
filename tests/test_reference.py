"""The reference is made from the docstrings without a warning and holds everything public."""

from __future__ import annotations

from pathlib import Path

import pytest

import ppgn
from tests import reference


def test_it_has_a_page_for_every_room_and_an_entry_for_every_public_name(tmp_path: Path) -> None:
    reference.make(tmp_path)
    page = (tmp_path / "ppgn.html").read_text()
    assert [name for name in ppgn.__all__ if f'id="{name}"' not in page] == ["evaluate"]  # a room: ppgn.evaluation
    assert 'href="ppgn/evaluation.html"' in page
    assert "Metropolis" in (tmp_path / "ppgn" / "samplers" / "mala.html").read_text()
    assert (tmp_path / "ppgn" / "priors" / "bank.html").is_file()
    assert not (tmp_path / "ppgn" / "cli.html").exists()


def test_a_public_name_that_cannot_be_found_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppgn, "__all__", [*ppgn.__all__, "nothing"])
    with pytest.raises((AttributeError, UserWarning), match="nothing"):
        reference.make(tmp_path)
