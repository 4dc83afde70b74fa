"""Whatever is typed: a result, or one line and the status that suits it; no traceback, no hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from ppgn.cli import help
from tests.fuzz.command import command, place
from tests.fuzz.grammar import commands, keys


@pytest.mark.parametrize("verb", help.VERBS)
def test_every_verb_has_its_keys(verb: str) -> None:
    first = {"train": ["prior"], "evaluate": ["what=units"]}.get(verb, [])
    assert keys(verb, first) or verb in ("models", "completion")


@given(words=commands())
def test_a_command_works_or_says_in_one_line_why_not(files: Path, words: list[str]) -> None:
    with place(files):
        status, printed, _ = command(words)
    assert status in (0, 1, 2)
    assert "Traceback" not in printed
