"""Samples of scenes, judged by a linear probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.places import probing, scenes
from ppgn.evaluation.sources import Source
from ppgn.evaluation.table import Table
from ppgn.model import PPGN
from ppgn.photographs import Photographs
from tests.evaluation.conftest import Grey, Settings, grey, store


@pytest.fixture
def miniplaces(tmp_path: Path) -> Path:
    """Photographs of 16 px: "dark", "light" and "none", which has none."""
    classes = [{"name": "dark"}, {"name": "light"}, "none"]
    store(tmp_path / "mini", grey(10, 200, 30, 250, 20, 220), "train", labels=[0, 1, 0, 1, 0, 1], classes=classes)
    store(tmp_path / "mini", grey(0, 240, 140), labels=[0, 1, 0], classes=classes)
    return tmp_path / "mini"


def test_scenes_are_read_in_the_order_asked(miniplaces: Path) -> None:
    train, val = Photographs.find(miniplaces, "train"), Photographs.find(miniplaces)
    names, drawn = scenes(train, ["light", 0], 16, 2)
    assert names == ["light", "dark"]
    assert drawn.pictures[:, 0, 0, 0].tolist() == [200, 250, 10, 30]
    assert drawn.targets.tolist() == [0, 0, 1, 1]
    assert scenes(val, names, 16)[1].pictures[:, 0, 0, 0].tolist() == [240, 0, 140]
    with pytest.raises(InputError, match="train photograph of none"):
        scenes(train, ["none"], 16)
    (miniplaces / "classes.json").unlink()
    with pytest.raises(InputError, match=r"classes\.json"):
        scenes(Photographs.find(miniplaces), ["dark"], 16)


def test_scenes_are_judged_by_a_probe(miniplaces: Path, model: PPGN) -> None:
    pytest.importorskip("sklearn")
    _, train = scenes(Photographs.find(miniplaces, "train"), ["dark", "light"], 16)
    _, val = scenes(Photographs.find(miniplaces), ["dark", "light"], 16)

    def features(pictures: Tensor) -> Tensor:
        return pictures.float().mean((2, 3)) / 255

    judge = probing(features, train)
    assert judge(val.pictures, val.targets)["top1"].tolist() == [1, 0, 1]  # the middle one, 140, is nearer to the light
    asked = [Grey(0), Grey(1)]
    start = Source.of(model, "annealed", None, (0, 5), own_seeds=True).start_codes().draw(asked)
    table = Table({})
    Panel(asked, judge).add(table, "start", start, asked=["dark", "light"])
    light = start.pictures.float().mean((1, 2, 3)) > 121.7
    told = [row["top1"] for row in table.facts["start"]["pictures"]]
    assert told == (light == torch.tensor([0, 0, 1, 1])).double().tolist()


def test_the_command_line_gives_the_same(
    check_same: Callable[..., None], miniplaces: Path, tiny: Path, classifier: Settings
) -> None:
    pytest.importorskip("sklearn")
    Path("names.json").write_text('["light", "x", "dark", "y"]')
    typed = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16"]
    typed += ["condition.labels=names.json", "data=mini", "classes=[dark,light]", "n=4", "steps=2"]
    given = {"condition": {**classifier, "labels": "names.json"}, "data": "mini", "classes": ["dark", "light"], "n": 4}
    check_same(evaluation.places, typed, steps=2, **given)
    table = evaluation.places(tiny / "model.safetensors", steps=2, device="cpu", **given)
    assert list(table.rows) == ["samples", "white_noise", "photographs"]
    told = [(row["target"], row["seed"]) for row in table.facts["samples"]["pictures"]]
    assert told == [("dark", 0), ("dark", 1), ("light", 2), ("light", 3)]
    assert table.facts["photographs"] == {"judged_among": 2}
