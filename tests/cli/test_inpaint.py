"""`ppgn inpaint` end to end on tiny networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ppgn
from ppgn.cli import main

Run = Callable[..., int]
PIXELS = np.random.default_rng(0).integers(256, size=(30, 44, 3), dtype=np.uint8)


def save(path: str, pixels: np.ndarray = PIXELS) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pixels(path: str) -> np.ndarray:
    return np.array(Image.open(path))


def report() -> Any:
    return json.loads(Path("out/report.json").read_text())


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ppgn inpaint` with the tiny networks, in a folder with photo.png, 44x30."""
    monkeypatch.chdir(tmp_path)
    save("photo.png")
    words = {"image": "photo.png", "model": f"{tiny}/model.safetensors", "seeds": "0-1", "steps": "2"}
    words |= {"device": "cpu", "out": "out"}

    def run(*more: str) -> int:
        given = {word.split("=")[0] for word in more}
        return main(["inpaint", *(f"{key}={value}" for key, value in words.items() if key not in given), *more])

    return run


def classifier(tiny: Path) -> list[str]:
    return ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "target=2"]


def test_context_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    hole = np.zeros((30, 44), dtype=bool)
    hole[8:22, 11:33] = True
    for seed in (0, 1):
        completed = pixels(f"out/photo-seed-{seed}-completed.png")
        assert completed.shape == PIXELS.shape
        assert np.array_equal(completed[~hole], PIXELS[~hole])
        assert (completed[hole] != PIXELS[hole]).any(axis=1).mean() > 0.9
    said = report()
    (photo,) = said["images"]
    assert (said["target"], said["condition"], said["steps"]) == (None, None, 2)
    assert (photo["size"], photo["hole"], photo["region"]) == ([44, 30], round(14 * 22 / 1320, 4), [7, 0, 30])
    rows = photo["completions"]
    assert [row["rank"] for row in rows] == [1, 2]
    assert {row["seed"] for row in rows} == {0, 1}
    assert rows[0]["score"] >= rows[1]["score"]
    assert all(row["score"] == row["log_context"] and not row["failed"] for row in rows)
    grid = pixels("out/grid.png")
    assert grid.shape == (30 + 4, 4 * 46 + 2, 3)
    assert np.array_equal(grid[2:32, 2:46], PIXELS)
    assert np.array_equal(grid[2:32, 48:92][~hole], PIXELS[~hole])
    assert (grid[2:32, 48:92][hole] == 128).all()
    assert np.array_equal(grid[2:32, 94:138], pixels(f"out/{rows[0]['file']}"))
    assert capsys.readouterr().out.startswith("2 completions of 1 photo in ")


def test_a_target_is_ranked_by_context_and_condition(run: Run, tiny: Path) -> None:
    assert run(*classifier(tiny), "seeds=0-2", "context.weight=0.5") == 0
    assert report()["target"] == 2
    rows = report()["images"][0]["completions"]
    scores = [row["log_context"] + row["log_prob"] for row in rows]
    assert [row["score"] for row in rows] == pytest.approx(scores)
    assert scores == sorted(scores, reverse=True)
    assert all(0 < row["prob"] < 1 for row in rows)


def test_a_completion_does_not_depend_on_the_batch(run: Run) -> None:
    assert run("batch_size=1") == 0
    alone = pixels("out/photo-seed-1-completed.png")
    assert run("seeds=1,5,2", "out=other") == 0
    assert np.array_equal(alone, pixels("other/photo-seed-1-completed.png"))
    assert not np.array_equal(alone, pixels("other/photo-seed-5-completed.png"))


def test_a_target_changes_the_hole_alone(run: Run, tiny: Path) -> None:
    assert run("seeds=0") == 0
    assert run(*classifier(tiny), "seeds=0", "out=other", "context.weight=0.01") == 0
    plain, wanted = pixels("out/photo-seed-0-completed.png"), pixels("other/photo-seed-0-completed.png")
    assert not np.array_equal(plain, wanted)
    assert np.array_equal(plain[:8], wanted[:8])


def test_it_is_what_the_function_draws(run: Run, tiny: Path) -> None:
    words = {"target": 2, "mask": "random", "sampler": "released", "seeds": "0-2"}
    settings = {"path": f"{tiny}/classifier.ts", "size": 16}
    typed = [f"{key}={value}" for key, value in words.items()]
    assert run(*typed, "condition=torchscript", *(f"condition.{k}={v}" for k, v in settings.items())) == 0
    given: dict[str, Any] = {"target": 2, "hole": "random", "sampler": "released", "seeds": range(3)}
    given |= {"model": tiny / "model.safetensors", "steps": 2, "device": "cpu"}
    done = ppgn.inpaint("photo.png", **given, condition={"expression": "torchscript", **settings})
    done.save("python")
    files = sorted(path.name for path in Path("out").iterdir())
    assert files == sorted(path.name for path in Path("python").iterdir())
    for name in files:
        if name.endswith(".png"):
            assert Path("python", name).read_bytes() == Path("out", name).read_bytes()
    rows = json.loads(Path("python/report.json").read_text())["images"][0]["completions"]
    assert rows == report()["images"][0]["completions"]
    assert len(repr(done)) < 120


def test_transparent_pixels_are_a_hole(run: Run) -> None:
    alpha = np.full((30, 44, 1), 255, dtype=np.uint8)
    alpha[10:16, 20:30] = 0
    alpha[16, 20:30] = 100
    save("cutout.png", np.concatenate([PIXELS, alpha], axis=2))
    assert run("image=cutout.png", "mask=alpha", "seeds=0") == 0
    completed, opaque = pixels("out/cutout-seed-0-completed.png"), alpha[..., 0] == 255
    assert completed.shape == (30, 44, 3)
    assert np.array_equal(completed[opaque], PIXELS[opaque])


def test_a_folder_of_photos(run: Run) -> None:
    save("photos/a.png")
    save("photos/b.png", PIXELS[:, :20])
    assert run("image=photos", "mask=random", "seeds=3") == 0
    assert [Path(photo["image"]).name for photo in report()["images"]] == ["a.png", "b.png"]
    assert pixels("out/b-seed-3-completed.png").shape == (30, 20, 3)
    assert pixels("out/grid.png").shape == (2 * 32 + 2, 3 * 46 + 2, 3)


def test_large_photos_are_worked_on_in_a_region(run: Run, tiny: Path) -> None:
    photo = np.full((300, 500, 3), 120, dtype=np.uint8)
    hole = np.zeros((300, 500), dtype=np.uint8)
    hole[200:260, 400:440] = 255
    save("large.png", photo)
    save("hole.png", hole)
    assert run("image=large.png", "mask=hole.png", "seeds=0") == 0
    left, top, side = report()["images"][0]["region"]
    assert (left, top, side) == (360, 170, 120)
    completed = pixels("out/large-seed-0-completed.png")
    model = ppgn.load(tiny / "model.safetensors")
    assert np.array_equal(completed[hole == 0], photo[hole == 0])
    assert model.generator.signal_shape == (3, 16, 16)


BAD = [
    (("mask=small.png",), "the mask has 20x30 pixels, the image 44x30; give a mask of the image's size"),
    (("mask=black.png",), "the mask has no hole"),
    (("mask=white.png",), "the hole covers the whole image"),
    (("mask=alpha",), "'photo.png' has no transparent pixels"),
    (("mask=centre",), "unknown mask 'centre'; nearest: center"),
    (("mask=none.png",), "no image file 'none.png'"),
    (("mask=empty",), "mask: 'empty' has 0 files named 'photo'"),
    (("image=none.jpg",), "no image file 'none.jpg'"),
    (("image=text.png",), "'text.png' is not an image"),
    (("image=deep.png",), "'deep.png' has more than 8 bits a channel"),
    (("image=huge.png",), "'huge.png' has 9000x8000 pixels; at most 64 megapixels"),
    (("image=sheer.png",), "'sheer.png' is transparent where it should be known; give mask=alpha"),
    (("image=empty",), "no val_images.npy and no pictures in 'empty'"),
    (("image=twins",), "several pictures are named 'a'"),
    (("condition=imagenet",), "condition=imagenet has nothing to ask for: add target=NAME"),
    (("target=[goldfish,pizza]",), "target=['goldfish', 'pizza'] cannot be used; a hole is filled with one target"),
    (("target=goldfsh",), "unknown class 'goldfsh'"),
    (("prior=jiont",), "unknown prior 'jiont'; nearest: joint"),
    (("keep=1.5",), "keep=1.5 cannot be used; expected 0"),
    (("fill=smooth",), "unknown fill 'smooth'"),
    (("context.weight=0",), "context: weight is"),
    (
        ("context.imputations=1",),
        "imputations=1 cannot be used; expected 0 for none, or a whole number from 2 on",
    ),
    (("seeds=3-1",), "cannot read seeds '3-1'"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    run: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    Path("text.png").write_text("not a picture")
    save("small.png", np.full((30, 20), 255, dtype=np.uint8))
    save("black.png", np.zeros((30, 44), dtype=np.uint8))
    save("white.png", np.full((30, 44), 255, dtype=np.uint8))
    save("deep.png", np.zeros((30, 44), dtype=np.uint16))
    save("sheer.png", np.full((30, 44, 4), 200, dtype=np.uint8))
    save("twins/a.png")
    save("twins/a.jpg")
    if "image=huge.png" in words:
        Image.new("1", (9000, 8000)).save("huge.png")
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ppgn: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not Path("out").exists()


def test_it_says_that_every_completion_failed(run: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*classifier(tiny), "sampler.epsilon1=1e308") == 1
    assert "ppgn: every seed failed" in capsys.readouterr().err
