"""`ppgn classes` lists the words that a target can be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppgn.cli import main


def lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["classes", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_lists_every_class_with_its_synonyms_and_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    rows = lines([], capsys)
    assert len(rows) == 1001
    assert rows[0].split() == ["INDEX", "CLASS", "KIND", "OF"]
    assert rows[14].split() == ["13", "junco,", "snowbird", "finch,", "passerine,", "oscine,", "bird"]


@pytest.mark.parametrize(
    ("words", "count", "first"),
    [
        (["golden", "retriever"], 1, "207"),
        (["pattern=any"], 1, "215"),  # a part of a word
        (["cats"], 7, "281"),
        (["207"], 1, "207"),  # an index
        (["coast", "condition=places"], 1, "35"),
    ],
)
def test_a_pattern_is_a_part_of_a_name_or_a_kind(
    words: list[str], count: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = lines(words, capsys)[1:]
    assert (len(rows), rows[0].split()[0]) == (count, first)


def test_dogs_are_among_those_of_dog(capsys: pytest.CaptureFixture[str]) -> None:
    found = {int(row.split()[0]) for row in lines(["dog"], capsys)[1:]}
    assert {*range(151, 269), 934} <= found  # and the hotdog, by its name


def test_words_of_the_captioner(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dog" in [row.strip() for row in lines(["dog", "condition=caption"], capsys)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["unicorn"], "unknown class 'unicorn'"),
        (["condition=unit"], "imagenet, places, caption"),
        (["patern=a"], "key"),
    ],
)
def test_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classes", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["classes", "dog"], ["classes", "coast", "condition=places"], ["models"], ["units"], ["sample", "--help"]]
)
def test_lists_need_no_torch(words: list[str]) -> None:
    code = f"import sys; from ppgn.cli import main; sys.exit(main({words}) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
