"""`ppgn evaluate`: words reach the functions of `ppgn.evaluation` (see tests/evaluation), whose table is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.cli import main

Run = Callable[..., int]


@pytest.fixture
def evaluate(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ppgn evaluate` with the tiny networks in a folder where `photos/set` holds 20 pictures of 16 px."""
    monkeypatch.chdir(tmp_path)
    Path("photos/set").mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    np.save("photos/set/val_images.npy", pictures)
    words = {"model": f"{tiny}/model.safetensors", "condition": "torchscript", "condition.size": "16", "n": "8"}
    words |= {"condition.path": f"{tiny}/classifier.ts", "data": "photos", "classes": "[2,0,3]", "seeds": "0-1"}
    words |= {"steps": "2", "batch_size": "2", "device": "cpu", "out": "out"}

    def run(*more: str) -> int:
        given = {word.split("=")[0] for word in more}
        return main(["evaluate", *(f"{key}={value}" for key, value in words.items() if key not in given), *more])

    return run


def test_the_table_is_printed_and_written(evaluate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("what=samples", "systems=[white_noise,default]") == 0
    captured = capsys.readouterr()
    said = json.loads(Path("out/evaluation.json").read_text())
    head, first, second, last = captured.out.splitlines()
    assert head.split()[:3] == ["p", "top1", "top5"]
    assert [first.split()[0], second.split()[0]] == list(said["rows"]) == ["white_noise", "default"]
    assert last == "-> out"
    assert "default: 100%" in captured.err
    assert said["settings"]["seeds"] == "0-1"
    assert said["settings"]["condition"]["size"] == 16


def test_the_default_system_draws_what_sample_draws(evaluate: Run, tiny: Path) -> None:
    assert evaluate("what=samples", "systems=[default]") == 0
    words = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    words += [
        "condition.size=16",
        "steps=2",
        "seeds=0-1",
        "batch_size=2",
        "device=cpu",
        "target=0",
        "out=sampled",
        "scale=1",
    ]
    assert main(["sample", *words]) == 0
    grid, alone = (np.array(Image.open(path)) for path in ("out/grid_default.png", "sampled/grid.png"))
    assert np.array_equal(grid[18:36], alone[:18])


def test_an_experiment_sets_sampler_and_prior(evaluate: Run) -> None:
    assert evaluate("what=samples", "systems=[default]", "experiment=noiseless_joint") == 0
    named = json.loads(Path("out/evaluation.json").read_text())["rows"]["default"]
    assert evaluate("what=samples", "systems=[default]", "sampler=ppgn", "prior=joint") == 2
    assert evaluate("what=samples", "systems=[default]", "sampler=ppgn", "prior=joint", "overwrite=true") == 0
    given = json.loads(Path("out/evaluation.json").read_text())["rows"]["default"]
    assert (named["kid"], named["p"]) == (given["kid"], given["p"])


def test_an_interrupted_evaluation_keeps_its_rows(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ppgn.samplers.annealed.Annealed.step", interrupted)
    assert evaluate("what=samples", "systems=[white_noise,default]") == 130
    assert list(json.loads(Path("out/evaluation.json").read_text())["rows"]) == ["white_noise"]


def test_too_little_memory_is_one_line(
    evaluate: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("ppgn.samplers.annealed.Annealed.step", full)
    assert evaluate("what=samples", "systems=[default]") == 2
    assert "smaller batch_size" in capsys.readouterr().err.splitlines()[-1]


def test_without_out_the_folder_says_what(evaluate: Run) -> None:
    assert evaluate("what=samples", "systems=[white_noise]", "out=null") == 0
    assert Path("outputs/evaluate-samples/evaluation.json").exists()


BAD = [
    (("what=sample",), "samples"),
    ((), "what"),
    (("what=samples", "data=nowhere"), "nowhere"),
    (("what=samples", "data=null"), "data=FOLDER"),
    (("what=samples", "data=empty"), "empty"),
    (("what=samples", "n=21"), "smaller n"),
    (("what=reconstruction", "n=11", "classes"), "key=value"),
    (("what=samples", "systems=[deflaut]"), "default"),
    (("what=samples", "systems=[]"), "systems"),
    (("what=samples", "classes=[1,1]"), "classes"),
    (("what=samples", "classes=[4]"), "0 to 3"),
    (("what=samples", "classes=[1]", "seeds=0"), "single sample"),
    (("what=samples", "target=1"), "target"),
    (("what=samples", "prior=jiont"), "joint"),
    (("what=samples", "model=nature64"), "nature64"),
    (("what=samples", "experiment=[ppgn_h,joint]"), "experiment"),
    (("what=variants", "experiment=[ppgn_z]"), "ppgn_x"),
    (("what=variants", "models.ppgn_x=nowhere.safetensors", "experiment=[ppgn_x]"), "nowhere"),
]


@pytest.mark.parametrize(("words", "word"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    evaluate: Run, words: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert evaluate(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ppgn: ")
    assert word in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        ("samples", ["data=null", "n=2000", "seeds=0-7", "systems=[default,", "sampler.epsilon2=1.0"]),
        ("places", ["n=3000", "condition=places", "seeds=0-1", "prior=null"]),
        ("variants", ["experiment=[...]", "models=null"]),
        ("captions", ["count=30", "judge=null", "n=100"]),
        ("units", ["layers=[blocks.2,blocks.4,blocks.6]", "count=50"]),
    ],
)
def test_help_gives_every_key_with_its_own_default(
    what: str, keys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"what={what}", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {key}" in text for key in keys)
    assert max(map(len, text.splitlines())) <= 120
