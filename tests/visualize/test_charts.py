"""A chart is a PNG file of the size that was asked for."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from ppgn.errors import InputError
from ppgn.visualize import charts


def test_a_figure_is_a_file() -> None:
    pytest.importorskip("matplotlib", reason="the extra toolbox is not installed")
    made = charts.figure(2, 1)
    made.add_subplot().plot([0, 1], [0, 1])
    picture = Image.open(io.BytesIO(charts.png(made)))
    assert (picture.format, picture.size) == ("PNG", (240, 120))


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"ppgn\[toolbox\]"):
        charts.figure(1, 1)
