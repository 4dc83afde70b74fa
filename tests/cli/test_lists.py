"""`ppgn models`, `ppgn classes` and `ppgn units` list what other commands take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppgn import paths
from ppgn.cli import main


def lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(words) == 0
    return capsys.readouterr().out.splitlines()


def test_lists_checkpoints_and_conditions(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "checkpoints", lambda: tiny)
    rows = lines(["models"], capsys)
    assert rows[0].split() == ["MODEL", "CODE", "IMAGE", "SIZE", "DESCRIPTION"]
    assert rows[1].split() == ["model", "8", "3x16x16", "0.0", "MB", "random", "weights"]
    conditions = [row.split()[0] for row in rows[4:]]
    assert conditions == paths.options("condition")
    assert "ImageNet" in next(row for row in rows if row.startswith("imagenet"))


def test_lists_every_class_with_its_synonyms_and_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    rows = lines(["classes"], capsys)
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
    rows = lines(["classes", *words], capsys)[1:]
    assert (len(rows), rows[0].split()[0]) == (count, first)


def test_dogs_are_among_those_of_dog(capsys: pytest.CaptureFixture[str]) -> None:
    found = {int(row.split()[0]) for row in lines(["classes", "dog"], capsys)[1:]}
    assert {*range(151, 269), 934} <= found  # and the hotdog, by its name


def test_words_of_the_captioner(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dog" in [row.strip() for row in lines(["classes", "dog", "condition=caption"], capsys)]


def test_lists_the_outer_layers_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row.split() for row in lines(["units", "network=torchvision/squeezenet1_1"], capsys)]
    assert rows[0] == ["LAYER", "UNITS", "PLACES"]
    assert ["features.0", "64", "111x111"] in rows
    assert rows[-1] == ["classifier", "1000", "1x1"]
    assert all(name.count(".") < 2 for name, *_ in rows)


def test_lists_a_layer_with_everything_inside(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row.split() for row in lines(["units", "network=efficientnet_lite0", "layer=blocks.1"], capsys)]
    assert ["blocks.1", "24", "32x32"] in rows
    assert ["blocks.1.1.conv_pw", "144", "32x32"] in rows
    assert all(name.startswith("blocks.1") for name, *_ in rows[1:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models", "natural64"], "takes no further words"),
        (["classes", "unicorn"], "unknown class 'unicorn'"),
        (["classes", "condition=unit"], "imagenet, places, caption"),
        (["classes", "patern=a"], "key"),
        (["units", "layer=blcks.1"], "unknown layer of efficientnet_lite1 'blcks.1'; nearest: blocks.1"),
        (["units", "network=efficientnet_lite9"], "unknown network 'efficientnet_lite9'; nearest: efficientnet_lite"),
        (["units", "netwrk=x"], "unknown key 'netwrk'; nearest: network"),
    ],
)
def test_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["classes", "dog"], ["classes", "coast", "condition=places"], ["models"], ["units"], ["sample", "--help"]]
)
def test_lists_need_no_torch(words: list[str]) -> None:
    code = f"import sys; from ppgn.cli import main; sys.exit(main({words}) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
