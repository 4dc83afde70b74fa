"""A whole search: by functions, conditions and files; interrupted, noisy, with words for what cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgn
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.search.evolve import evolve
from tests.tiny import TinyGenerator

pytest.importorskip("cmaes", reason="the extra search is not installed")
RIG = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import ppgn
from tests.search.test_evolve import model
torch.set_num_threads(1)
ppgn.evolve(exchange=sys.argv[1], model=model(), method="cmaes", generations=5, population=4, out=sys.argv[2],
            device="cpu", resume=True, timeout=60)
"""


def model() -> PPGN:
    return PPGN(TinyGenerator(dtype=torch.float32))


def red(pictures: Tensor) -> Tensor:
    return pictures[:, 0].mean((1, 2))


def found(score: Any = None, **more: Any) -> Any:
    return evolve(
        score, **{"model": model(), "method": "cmaes", "generations": 6, "population": 8, "device": "cpu", **more}
    )


def test_it_is_the_loop_over_ask_and_tell(tmp_path: Path) -> None:
    done = found(red, out=tmp_path)
    search = ppgn.Search(model(), "cmaes", 8, device="cpu")
    for _ in range(6):
        search.tell(red(search.ask()[1]))
    assert torch.equal(done.codes, search.codes)
    report = json.loads((tmp_path / "search.json").read_text())
    assert report["generations"] == 6
    assert report["evaluations"] == 48
    assert report["failed"] == 0
    assert report["best"][0] == done.best()[1][0].tolist()
    assert [row[0] for row in report["best_of_generation"]] == done.scores.amax(1)[:, 0].tolist()
    assert red(images.read(tmp_path / "best.png")[None]).item() == pytest.approx(report["best"][0][0], abs=0.005)
    assert (tmp_path / "grid.png").exists()


def test_a_score_may_be_anything_that_gives_numbers_its_gradient_is_not_used() -> None:
    def numbers(pictures: Tensor) -> list[float]:
        assert not pictures.requires_grad
        assert not torch.is_grad_enabled()
        return [float(picture[0].mean()) for picture in pictures]

    assert torch.allclose(found(numbers).scores, found(red).scores, atol=1e-6)


def test_a_condition_scores_as_it_is() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    done = found(condition=Classifier(network, 1, size=4), generations=15)
    assert done.scores[-1].mean() > done.scores[0].mean()
    assert done.scores.max() < 0  # log p


def test_noise_averages_out_over_repeats_but_for_what_failed() -> None:
    asked = 0

    def noisy(pictures: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        return torch.full((len(pictures),), torch.nan if asked % 3 == 0 else asked % 3 + 0.0)

    done = found(noisy, repeats=3, generations=1)
    assert asked == 3
    assert (done.scores == 1.5).all()


def test_two_functions_are_two_scores() -> None:
    assert found([red, lambda x: -red(x)]).scores.shape == (6, 8, 2)


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    calls = 0

    def interrupted(pictures: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return red(pictures)

    with pytest.raises(KeyboardInterrupt):
        found(interrupted, out=tmp_path)
    assert json.loads((tmp_path / "search.json").read_text())["generations"] == 3
    done = found(red, out=tmp_path, resume=True)
    assert torch.equal(done.codes, found(red).codes)
    assert found(red, out=tmp_path, resume=True, generations=7).generation == 7
    with pytest.raises(InputError, match="resume=true"):
        found(red, out=tmp_path)
    assert found(red, out=tmp_path, overwrite=True, generations=2).generation == 2


def answer(rig: Path, stop: threading.Event) -> None:
    """What a rig does: looks for pictures, measures, writes scores."""
    while not stop.is_set():
        for place in sorted(rig.glob("generation-*")):
            if not (place / "scores.csv").exists():
                rows = [f"{path.name},{red(images.read(path)[None]).item()}" for path in sorted(place.glob("*.png"))]
                (place / "part").write_text("\n".join([*rows, ""]))
                os.replace(place / "part", place / "scores.csv")
        time.sleep(0.02)


def test_a_rig_measures_through_files_and_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RIG, str(tmp_path / "rig"), str(tmp_path / "out"), os.getcwd()]
    stop = threading.Event()
    thread = threading.Thread(target=answer, args=(tmp_path / "rig", stop))
    process = subprocess.Popen(command)
    end = time.monotonic() + 60
    while not (tmp_path / "rig" / "generation-0000").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # while it waits
    process.wait()
    thread.start()
    try:
        process = subprocess.Popen(command)
        while not (tmp_path / "rig" / "generation-0002").exists() and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)  # somewhere between measuring and drawing
        process.wait()
        search = found(
            exchange=tmp_path / "rig", generations=5, population=4, out=tmp_path / "out", resume=True, timeout=20
        )
    finally:
        stop.set()
        thread.join()
    whole = ppgn.Search(model(), "cmaes", 4, device="cpu")
    for told in search.scores:
        whole.ask()
        whole.tell(told)
    assert torch.equal(search.codes, whole.codes)
    assert search.generation == len(list((tmp_path / "rig").glob("generation-*"))) == 5
    first = torch.stack([images.read(path) for path in sorted((tmp_path / "rig/generation-0003").glob("*.png"))])
    assert torch.allclose(red(first).double(), search.scores[3, :, 0], atol=1e-6)


def test_a_rig_that_is_silent_ends_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scores\.csv"):
        found(exchange=tmp_path / "rig", out=tmp_path / "out", timeout=0.05)
    with pytest.raises(InputError, match="another search"):
        found(exchange=tmp_path / "rig", out=tmp_path / "other", timeout=0.05, seed=5)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "score=file.py:function"),
        ({"score": red, "exchange": "rig"}, "one of"),
        ({"score": "nowhere.py:f"}, "nowhere.py"),
        ({"score": 3}, "nothing to call"),
        ({"score": []}, "empty"),
        ({"score": lambda x: x}, "a number each"),
        ({"score": lambda x: x.nothing}, "nothing"),
        ({"score": lambda x: [float("nan")] * len(x)}, "none of the 8"),
        ({"score": red, "target": 3}, "takes none"),
        ({"score": red, "generations": 0}, "generations"),
        ({"score": red, "repeats": 0}, "repeats"),
        ({"exchange": "rig", "timeout": 0}, "timeout"),
    ],
)
def test_bad_input_is_one_line(
    given: dict[str, Any], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=word):
        found(**given)


def test_without_cmaes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(InputError, match=r"pip install 'ppgn\[search\]'"):
        found(red)
