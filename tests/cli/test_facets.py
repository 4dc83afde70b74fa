"""`ppgn facets` end to end on tiny networks: a row per facet, its chains started from its own pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ppgn
from ppgn.cli import main
from ppgn.media import images


@pytest.fixture
def words(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tiny networks, and in an empty folder twelve pictures, dark and bright ones in turn."""
    monkeypatch.chdir(tmp_path)
    draw = torch.Generator().manual_seed(0)
    for number in range(12):
        picture = number % 2 * 0.9 + 0.02 * torch.rand(3, 16, 16, generator=draw)
        images.write(f"pictures/{number:02}.png", picture)
    found = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    return [*found, "condition.size=16", "device=cpu", "target=1", "out=o", "seeds=0-1"]


STILL = ["sampler=ppgn", "sampler.epsilon1=0", "sampler.epsilon2=0", "sampler.epsilon3=0", "steps=1"]


def test_every_facet_has_its_pictures_and_chains_from_their_mean_code(
    words: list[str], tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    assert main(["facets", *words, "images=pictures", "k=2", "nearest=3", *STILL]) == 0
    report = json.loads(Path("o/facets.json").read_text())
    kinds = [{int(Path(file).stem) % 2 for file in facet["nearest"]} for facet in report["facets"]]
    assert sorted(kinds, key=str) == [{0}, {1}]
    assert [facet["pictures"] for facet in report["facets"]] == [6, 6]
    assert [[sample["seed"] for sample in facet["samples"]] for facet in report["facets"]] == [[0, 1]] * 2
    assert main(["facets", *words, "images=nothing", "k=2"]) == 2
    assert "overwrite=true" in capsys.readouterr().err  # before anything is read

    saved = load_file("o/samples.safetensors")
    assert saved["facets"].tolist() == [0, 0, 1, 1]
    model = ppgn.load(tiny / "model.safetensors")
    near = torch.stack([images.read(file) for file in report["facets"][1]["nearest"]])
    assert torch.allclose(saved["codes"][2:], model.encode(near).mean(0).expand(2, -1), atol=1e-5)

    grid = np.asarray(Image.open("o/grid.png"))  # three pictures, two places left white, a gap, two samples
    assert grid.shape[:2] == (2 * 18 + 2, 8 * 18 + 2)
    assert (grid[2:18, 2 + 3 * 18 : 2 + 6 * 18] == 255).all()
    first = images.to_uint8(images.read(report["facets"][0]["nearest"][0]))
    assert torch.equal(torch.from_numpy(grid[2:18, 2:18].copy()).permute(2, 0, 1), first)


@pytest.mark.parametrize("prior", [None, "joint"])
def test_it_is_what_the_function_draws(words: list[str], tiny: Path, prior: str | None) -> None:
    pytest.importorskip("sklearn", reason="the extra facets is not installed")
    typed = [f"prior={prior or 'null'}", "k=2", "nearest=3", "steps=4", *(["sampler=ppgn"] if prior else [])]
    assert main(["facets", *words, "images=pictures", *typed]) == 0
    condition = {"expression": "torchscript", "path": f"{tiny}/classifier.ts", "size": 16}
    given: dict[str, Any] = {"k": 2, "nearest": 3, "seeds": range(2), "steps": 4, "prior": prior}
    given |= {"condition": condition, "model": tiny / "model.safetensors", "device": "cpu"}
    given |= {"sampler": "ppgn"} if prior else {}
    found = ppgn.facets(1, "pictures", **given, out="python")
    for name in ("grid.png", "facets.json"):
        assert Path("python", name).read_bytes() == Path("o", name).read_bytes()
    saved = load_file("o/samples.safetensors")
    assert torch.equal(found.codes.flatten(0, 1), saved["codes"])
    assert torch.equal(found.images.flatten(0, 1), saved["images"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["images=none"], "no folder 'none'"),
        (["images=empty"], "no pictures in 'empty'"),
        (["images=pictures", "target=[1,2]"], "facets are those of one target"),
        (["images=pictures", "k=0"], "k=0 cannot be used"),
        (["images=pictures", "strength=2"], "strength=2 cannot be used"),
        (["images=pictures", "prior=jiont"], "unknown prior 'jiont'"),
        (["images=pictures", "sampler=:0"], "cannot find ':0'"),
        (["images=pictures", "sampler=ppgn..samplers:X"], "cannot find 'ppgn..samplers:X'"),
        ([], "images is missing"),
    ],
)
def test_refuses(words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert main(["facets", *words, *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
