"""`ppgn units` lists what `condition=unit` takes."""

from __future__ import annotations

import pytest

from ppgn.cli import main


def lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert main(["units", *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_lists_the_outer_layers_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    rows = lines(["network=torchvision/squeezenet1_1"], capsys)
    assert rows[0] == ["LAYER", "UNITS", "PLACES"]
    assert ["features.0", "64", "111x111"] in rows
    assert rows[-1] == ["classifier", "1000", "1x1"]
    assert all(name.count(".") < 2 for name, *_ in rows)


def test_lists_a_layer_with_everything_inside(capsys: pytest.CaptureFixture[str]) -> None:
    rows = lines(["network=efficientnet_lite0", "layer=blocks.1"], capsys)
    assert ["blocks.1", "24", "32x32"] in rows
    assert ["blocks.1.1.conv_pw", "144", "32x32"] in rows
    assert all(name.startswith("blocks.1") for name, *_ in rows[1:])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("layer=blcks.1", "unknown layer of efficientnet_lite0 'blcks.1'; nearest: blocks.1"),
        ("network=efficientnet_lite9", "unknown network 'efficientnet_lite9'; nearest: efficientnet_lite"),
        ("netwrk=x", "unknown key 'netwrk'; nearest: network"),
    ],
)
def test_refuses(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units", "network=efficientnet_lite0", word]) == 2
    assert capsys.readouterr().err.startswith(f"ppgn: {message}")
