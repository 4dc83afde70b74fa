"""Pictures out and scores in, whatever is killed when."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from ppgn.errors import InputError
from ppgn.media.medium import Pictures
from ppgn.search import exchange
from ppgn.search.exchange import Exchange

PICTURES = (torch.arange(3)[:, None, None, None] * 100 + torch.zeros(3, 3, 5, 7)).to(torch.uint8)
NAMES = ["0000.png", "0001.png", "0002.png"]


def test_a_generation_appears_whole_at_full_size(tmp_path: Path) -> None:
    from ppgn.media import images

    rig = Exchange(tmp_path / "rig", {"seed": 0})
    (tmp_path / "rig" / ".generation-0002.part").mkdir()  # left by a run that was killed
    (tmp_path / "rig" / ".generation-0002.part" / "0009.png").touch()
    place = rig.put(2, PICTURES, Pictures())
    assert place == tmp_path / "rig" / "generation-0002"
    assert sorted(path.name for path in place.iterdir()) == NAMES
    assert images.read(place / "0002.png").shape == (3, 5, 7)
    assert (images.read(place / "0002.png") == 200 / 255).all()
    before = os.stat(place / "0000.png").st_mtime_ns
    rig.put(2, PICTURES, Pictures())
    assert os.stat(place / "0000.png").st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("picture,score\n0002.png,3\n0000.png,1.5\n0001.png,-2e1\n", [[1.5], [-20], [3]]),
        ("0,1\n", None),
        ("0000,1\n0001,2\n0002,3\n", [[1], [2], [3]]),
        ("0000.png,1\n0001.png,2\n\n0002.png,3\n0001.png,4\n0002.png,nan\n", [[1], [3], [3]]),
        ("0000.png,1,5\n0001.png,nan,6\n0002.png,,7\n", [[1, 5], [torch.nan, 6], [torch.nan, 7]]),
    ],
)
def test_lines_are_read_repeats_averaged_failures_kept(
    tmp_path: Path, text: str, scores: list[list[float]] | None
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    if scores is None:
        with pytest.raises(InputError, match="line 1"):
            exchange.read(path, NAMES)
    else:
        found, _ = exchange.read(path, NAMES)
        assert found is not None
        assert torch.equal(found.nan_to_num(-1), torch.tensor(scores, dtype=torch.float64).nan_to_num(-1))


@pytest.mark.parametrize("cut", range(1, 33))
def test_half_a_file_is_never_taken_for_a_whole_one(tmp_path: Path, cut: int) -> None:
    path, text = tmp_path / "scores.csv", "0000.png,1\n0001.png,25\n0002.png,3\n"
    path.write_text(text[:cut])
    assert exchange.read(path, NAMES)[0] is None
    path.write_text(text)
    assert exchange.read(path, NAMES)[0] is not None


@pytest.mark.parametrize("line", ["0007.png,1", "0001.png,many", "0001.png", "0001.png,1,2"])
def test_lines_that_cannot_be_are_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"0000.png,1\n0001.png,1\n0002.png,2\n{line}\n")
    with pytest.raises(InputError, match=r"PICTURE,SCORE|unlike"):
        exchange.read(path, NAMES)


def test_it_waits_for_scores(tmp_path: Path) -> None:
    rig = Exchange(tmp_path, {})
    place = rig.put(0, PICTURES, Pictures())

    def measure() -> None:
        time.sleep(0.3)
        (place / "scores.csv").write_text("0000.png,1\n0001.png,2\n0002.png,3\n")

    thread = threading.Thread(target=measure)
    thread.start()
    assert rig.wait(0, timeout=20)[:, 0].tolist() == [1, 2, 3]
    thread.join()


def test_after_a_time_it_says_what_is_missing(tmp_path: Path) -> None:
    rig = Exchange(tmp_path, {})
    place = rig.put(0, PICTURES, Pictures())
    with pytest.raises(InputError, match="no such file"):
        rig.wait(0, timeout=0.05)
    (place / "scores.csv").write_text("0000.png,1\n")
    with pytest.raises(InputError, match=r"0001\.png"):
        rig.wait(0, timeout=0.05)


def test_a_folder_serves_one_search(tmp_path: Path) -> None:
    Exchange(tmp_path, {"seed": 0})
    Exchange(tmp_path, {"seed": 0})
    with pytest.raises(InputError, match="another search"):
        Exchange(tmp_path, {"seed": 1})
