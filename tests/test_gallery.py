"""Every picture of the gallery is made by commands that are understood, is small, and is shown with them somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from ppgn.cli import config
from tests.gallery import GALLERY, PICTURES, Picture, put_together

ROOT = GALLERY.parents[1]
PAGES = {page: page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "checkpoints").glob("*.md")))}
SHOWN = [(page, place) for page, text in PAGES.items() for place in re.findall(r"(?:\]\(|src=\")([^)\"]+\.webp)", text)]
LINES = sorted({line for picture in PICTURES.values() for line in picture.lines})


def test_pictures_are_small_and_each_has_its_commands() -> None:
    files = sorted(GALLERY.iterdir())
    assert [file.name for file in files] == sorted(f"{name}.webp" for name in PICTURES)
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    for file in files:
        with Image.open(file) as picture:
            assert (picture.format, picture.width) == ("WEBP", PICTURES[file.stem].width)


def test_every_picture_is_shown_and_every_link_leads_to_one() -> None:
    places = {(page.parent / place).resolve() for page, place in SHOWN}
    assert places >= {file.resolve() for file in GALLERY.iterdir()}
    assert all(place.is_file() for place in places)


@pytest.mark.parametrize("name", PICTURES)
def test_who_shows_a_picture_says_how_it_was_made(name: str) -> None:
    drawn = PICTURES[name].lines[-1]
    what = re.sub(r" (?:out|scale|seeds)=\S+", "", drawn)  # how large and where to is not worth a reader's time
    assert any(f"{name}.webp" in text and what in " ".join(text.split()) for text in PAGES.values()), what


@pytest.mark.parametrize("line", LINES)
def test_commands_are_understood(line: str) -> None:
    program, verb, *words = shlex.split(line)
    assert program == "ppgn"
    if verb != "train":
        function, given, _ = config.read(verb, words)
        assert function.startswith("ppgn.")
        assert given
    else:
        assert config.compose(f"train_{words[0]}", words[1:])


def test_a_file_put_together(tmp_path: Path) -> None:
    for name, shade in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (4, 6), shade).save(tmp_path / f"{name}.png")
    (stacked,) = put_together(Picture([], ["a.png", "b.png"], width=8), tmp_path)
    assert stacked.size == (8, 24)
    (beside,) = put_together(Picture([], ["a.png"], width=8, halves=True), tmp_path)
    assert beside.size == (8, 3)
    assert Picture(["ppgn train prior model=TAEF2 data.root=DATA"], []).needs == {"TAEF2", "DATA"}
