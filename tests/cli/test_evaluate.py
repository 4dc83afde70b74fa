"""`ppgn evaluate` end to end on tiny networks and made-up photographs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ppgn
from ppgn.cli import help, inpaint, main
from ppgn.cli.evaluation import inpainting, samples
from ppgn.cli.evaluation.data import Data
from ppgn.cli.evaluation.judges import Judges
from ppgn.cli.evaluation.request import VARIANTS, WHAT, Request
from ppgn.cli.sample import build_conditions
from ppgn.media import images
from ppgn.metrics import accuracy, diversity, fidelity
from ppgn.model import PPGN
from ppgn.networks import labels
from ppgn.samplers.noise import Noise
from tests.cli.evaluating import evaluate_with, read
from tests.tiny import TinyCondition, TinyEncoder, TinyGenerator

Run = Callable[..., int]


@pytest.fixture
def evaluate(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ppgn evaluate` with the tiny networks in a folder where `photos/set` holds 20 pictures of 16 px."""
    monkeypatch.chdir(tmp_path)
    pictures = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    Path("photos/set").mkdir(parents=True)
    np.save("photos/set/val_images.npy", pictures)
    words = {"model": f"{tiny}/model.safetensors", "condition": "torchscript", "condition.size": "16", "n": "8"}
    words |= {"condition.path": f"{tiny}/classifier.ts", "data": "photos", "classes": "[2,0,3]", "seeds": "0-1"}
    words |= {"steps": "2", "batch_size": "2", "device": "cpu", "out": "out"}

    return partial(evaluate_with, words)


def test_reconstruction(evaluate: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("what=reconstruction") == 0
    rows = read()["rows"]
    assert list(rows) == ["reconstruction", "other real", "blur 8 px"]

    stored = torch.from_numpy(np.load("photos/set/val_images.npy")).permute(0, 3, 1, 2)
    spread = stored[np.linspace(0, 19, 16).astype(int)]
    originals, others = spread[::2], spread[1::2]
    model = ppgn.load(tiny / "model.safetensors")
    drawn = images.to_uint8(model.decode(model.encode(originals / 255)))
    features = fidelity.Features()
    expected = {
        "frechet": fidelity.frechet_distance(features(drawn), features(originals)),
        "kid": fidelity.KID(features(drawn), features(others))().item(),
        "psnr": fidelity.psnr(drawn, originals).mean().item(),
    }
    for name, value in expected.items():
        assert rows["reconstruction"][name]["value"] == pytest.approx(value, rel=1e-3)
    interval = rows["reconstruction"]["psnr"]
    assert interval["low"] < interval["value"] < interval["high"]
    assert rows["blur 8 px"]["psnr"]["value"] > rows["reconstruction"]["psnr"]["value"]
    assert set(rows["other real"]) == {"frechet", "kid"}

    grid = torch.from_numpy(np.array(Image.open("out/grid.png"))).permute(2, 0, 1)
    assert grid.shape == (3, 2 * 18 + 2, 8 * 18 + 2)
    assert torch.equal(grid[:, 2:18, 2:18], originals[0])
    assert torch.equal(grid[:, 20:36, 2:18], drawn[0])
    assert "reconstruction  " in capsys.readouterr().out


def test_samples(evaluate: Run, tiny: Path) -> None:
    assert evaluate("what=samples") == 0
    said = read()
    assert list(said["rows"]) == ["default", "white_noise", "dgn_am", "pixels"]
    assert said["settings"]["seeds"] == "0-1"
    assert set(said["versions"]) == {"ppgn", "torch", "python"}
    for name, row in said["rows"].items():
        assert row["top1"] is None  # four unnamed classes are not the judge's
        assert 0 < row["p"]["low"] <= row["p"]["value"] <= row["p"]["high"] < 1
        assert row["failed"] == 0
        assert Image.open(f"out/grid_{name}.png").size == (2 * 18 + 2, 3 * 18 + 2)

    start = ppgn.load(tiny / "model.safetensors").decode(Noise([0, 1]).normal("init 1", (8,)))
    grid = torch.from_numpy(np.array(Image.open("out/grid_white_noise.png"))).permute(2, 0, 1)
    assert torch.equal(grid[:, 20:36, 20:36], images.to_uint8(start)[1])


def test_the_default_system_draws_what_sample_draws(evaluate: Run, tiny: Path) -> None:
    assert evaluate("what=samples", "systems=[default]") == 0
    words = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    words += ["condition.size=16", "steps=2", "seeds=0-1", "batch_size=2", "device=cpu", "target=0", "out=sampled"]
    assert main(["sample", *words]) == 0
    grid, alone = (np.array(Image.open(path)) for path in ("out/grid_default.png", "sampled/grid.png"))
    assert np.array_equal(grid[18:36], alone[:18])


def test_dgn_am_has_neither_prior_nor_noise(evaluate: Run) -> None:
    given = ["systems=[default,dgn_am]", "sampler=ppgn", "sampler.epsilon1=0", "sampler.epsilon3=0"]
    assert evaluate("what=samples", *given) == 0
    rows = read()["rows"]
    assert rows["default"]["kid"] == rows["dgn_am"]["kid"]
    assert evaluate("what=samples", "systems=[default,dgn_am]", "sampler.epsilon3=0.5") == 0
    assert read()["rows"]["dgn_am"]["kid"] == rows["dgn_am"]["kid"]
    assert read()["rows"]["default"]["kid"] != rows["default"]["kid"]


def test_the_judge_speaks_of_its_own_classes(evaluate: Run) -> None:
    words = ["condition=imagenet", "condition.network.name=efficientnet_lite0", "condition.network.size=32"]
    skipped = ("condition.size=", "condition.path=")
    given = ["what=samples", *words, "classes=[goldfish,pizza]", "systems=[white_noise]"]
    assert evaluate(*given, *skipped) == 2  # those keys belong to torchscript
    request = Request.read([*given, "data=photos", "seeds=0-1"])
    conditions = build_conditions(request.config.condition, request.classes, torch.device("cpu"), torch.float32)
    judges = Judges(request, conditions, torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8))
    pictures = torch.randint(256, (2, 2, 3, 16, 16), dtype=torch.uint8)
    figures = judges(list(pictures)).recognised()
    index = [labels.find(labels.imagenet(), name) for name in ("goldfish", "goldfish", "pizza", "pizza")]
    hits = accuracy.top_k(accuracy.Judge()(pictures.flatten(0, 1)), index, 5)
    assert figures["top5"] is not None
    assert figures["top5"].value == pytest.approx(hits.double().mean().item())


def test_photos_of_the_classes_are_the_reference(evaluate: Run) -> None:
    """Two photos of each class that are not among the four compared with; of class 9 there is one only."""
    Path("photos/set/classes.json").write_text(json.dumps([{"imagenet_index": k} for k in (1, 5, 9)] + [{}]))
    told = np.array([3, 0, 1, 0, 1, 0, 3, 1, 3, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    np.save("photos/set/val_labels.npy", told)
    words = ["condition=imagenet", "condition.network.name=efficientnet_lite0", "condition.network.size=32"]
    request = Request.read(["what=samples", *words, "data=photos", "n=4", "classes=[5,9,1]", "seeds=0-1"])
    conditions = build_conditions(request.config.condition, request.classes, torch.device("cpu"), torch.float32)
    judges = Judges(request, conditions, request.data.spread(4, 16))
    found = samples.photos(request, judges, 16)
    assert found is not None
    stored = torch.from_numpy(np.load("photos/set/val_images.npy")).permute(0, 3, 1, 2)
    assert np.linspace(0, 19, 4).astype(int).tolist() == [0, 6, 12, 19]  # the four
    expected = stored[[2, 9, 1, 5]]
    assert torch.equal(found.every, expected)
    hits = accuracy.top_k(accuracy.Judge()(expected), [5, 5, 1, 1], 5).double().mean().item()
    top5 = found.recognised()["top5"]
    assert top5 is not None
    assert top5.value == hits
    apart = diversity.within_class(fidelity.Features()(expected), [5, 5, 1, 1]).mean().item()
    within = found.within()
    assert within is not None
    assert within.value == pytest.approx(apart, rel=1e-4)


def test_inpainting(evaluate: Run) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    Path("photos/set/classes.json").write_text('[{"imagenet_index": 1}, {"imagenet_index": 3}]')
    np.save("photos/set/val_labels.npy", np.arange(20) % 2)
    assert evaluate("what=inpainting", "n=3", "steps=1", "batch_size=3") == 0
    rows = read()["rows"]
    ways = ["mean_colour", "harmonic", "biharmonic", "telea", "navier_stokes", "context"]
    ways += ["class", "class_pixels", "class_alone", "released"]
    assert list(rows) == ["original", *(f"{mask} {way}" for mask in ("center", "random") for way in ways)]

    stored = torch.from_numpy(np.load("photos/set/val_images.npy")).permute(0, 3, 1, 2)
    originals, classes = stored[[0, 6, 13]], [1, 1, 3]
    hole = torch.zeros(16, 16, dtype=torch.bool)
    hole[4:12, 4:12] = True
    colours = originals[:, :, ~hole].float().mean(dim=2).round()
    error = (colours[:, :, None] - originals[:, :, hole]).square().mean(dim=(1, 2)) / 255**2
    assert rows["center mean_colour"]["psnr"]["value"] == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-4)
    hits = accuracy.top_k(accuracy.Judge()(originals), classes, 5).double().mean().item()
    assert rows["original"]["top5"]["value"] == hits
    assert all(0 <= row["distance"]["value"] < 1 for name, row in rows.items() if name != "original")
    others = stored[[row for row in np.linspace(0, 19, 18).astype(int) if row not in (0, 6, 13)]]
    features = fidelity.Features()
    kid = fidelity.kid(features(originals), features(others)).value
    assert rows["original"]["kid"]["value"] == pytest.approx(kid, rel=1e-4)

    grid = torch.from_numpy(np.array(Image.open("out/grid_center.png"))).permute(2, 0, 1)
    assert grid.shape == (3, 3 * 18 + 2, 12 * 18 + 2)
    for column in range(1, 12):
        tile = grid[:, 2:18, 2 + 18 * column : 18 + 18 * column]
        assert torch.equal(tile[:, ~hole], originals[0][:, ~hole])
        assert not torch.equal(tile, originals[0])


def test_ways_to_fill_holes_follow_the_words(evaluate: Run) -> None:
    def ways(*words: str) -> dict[str, Any]:
        request = Request.read(["what=inpainting", "data=photos/set", *words])
        completer = inpainting._Completer(request, PPGN(TinyGenerator(), TinyEncoder()), None)
        completer.conditions = completer.published = [TinyCondition(0)]
        return completer.ways()

    assert [ways()[name].args[0].epsilon2 for name in ("context", "class")] == [inpaint.UNASKED, 2.5]
    changed = ways("context.epsilon2=0.1", "sampler.epsilon2=1.5")
    assert [changed[name].args[0].epsilon2 for name in ("context", "class")] == [0.1, 1.5]
    assert "class_pixels" in ways()
    assert "class_pixels" not in ways("context.imputations=0")
    assert "class_pixels" not in ways("sampler=ppgn")


def test_inpainting_without_labels_has_no_accuracy(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    monkeypatch.setattr(inpainting, "HOLES", ("center",))
    assert evaluate("what=inpainting", "n=2", "steps=1") == 0
    rows = read()["rows"]
    assert list(rows)[-1] == "center context"
    assert all(row["top1"] is None for row in rows.values())


def test_a_finished_system_is_kept_when_the_next_is_interrupted(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ppgn.samplers.annealed.Annealed.step", interrupted)
    assert evaluate("what=samples", "systems=[white_noise,default]") == 130
    assert list(read()["rows"]) == ["white_noise"]


def test_picture_files_are_data_too(evaluate: Run) -> None:
    for number in range(4):
        images.write(f"files/{number}.png", torch.full((3, 20, 30), number / 4))
    data = Data.find("files")
    assert data.spread(2, 16)[:, 0, 8, 8].tolist() == [0, 191]
    assert data.spread(4, 16).shape == (4, 3, 16, 16)


BAD = [
    (("what=sample",), "unknown what 'sample'; nearest: samples"),
    (("what=samples", "data=nowhere"), "no data folder 'nowhere'"),
    (("what=samples", "data=null"), "data is missing: add data=FOLDER"),
    (("what=samples", "data=empty"), "data: no val_images.npy and no pictures in 'empty'"),
    (("what=samples", "n=21"), "data: 21 pictures needed, 'photos' has 20; give a smaller n"),
    (("what=reconstruction", "n=11"), "data: 22 pictures needed, 'photos' has 20; give a smaller n"),
    (("what=samples", "systems=[deflaut]"), "unknown system 'deflaut'; nearest: default"),
    (("what=samples", "systems=[]"), "systems=[]: expected one name or more, each once"),
    (("what=samples", "classes=[1,1]"), "classes=[1,1]: expected one name or more, each once"),
    (("what=samples", "classes=[4]"), "class index 4 is out of range: expected 0 to 3"),
    (("what=samples", "classes=[1]", "seeds=0"), "classes and seeds make a single sample"),
    (("what=samples", "target=1"), "target=1 cannot be used here; give the classes: classes=[1]"),
    (("what=samples", "prior=jiont"), "unknown prior 'jiont'; nearest: joint"),
    (("what=samples", "model=nature64"), "unknown model 'nature64'"),
    ((), "what is missing: add what=VALUE"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    evaluate: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert evaluate(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ppgn: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not Path("out").exists()


def test_help_gives_every_key() -> None:
    text = help.evaluate()
    for key in (
        "what",
        "data",
        "n",
        "model",
        "condition",
        "classes",
        "seeds",
        "systems",
        "experiment",
        "prior",
        "sampler",
        "steps",
        "context.epsilon2",
    ):
        assert f"\n  {key}=" in text
    assert max(map(len, text.splitlines())) <= 120
    assert all(name in text for name in (*samples.SYSTEMS, *VARIANTS, *WHAT))
