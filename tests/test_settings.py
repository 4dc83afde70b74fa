"""What of a run's configuration is kept, and what of it decides the samples."""

from __future__ import annotations

from pathlib import Path

import torch

from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.settings import FREE, as_config, called, contents, deciding, plain
from tests.tiny import TinyEncoder, TinyGenerator


def test_parts_are_called_by_their_names() -> None:
    assert called("sampler", "annealed") == "annealed"
    assert called("sampler", {"_target_": "ppgn.samplers.annealed.Annealed", "steps": 3}) == "annealed"
    assert called("condition", {"expression": "imagenet & places"}) == "imagenet & places"
    assert called("condition", torch.nn.Identity()) == "Identity"


def test_a_configuration_is_plain_and_what_is_free_decides_nothing() -> None:
    net = PPGN(TinyGenerator(dtype=torch.float32), TinyEncoder(dtype=torch.float32))
    given = {"target": 3, "model": net, "seeds": range(2), "out": Path("o"), "progress": True, "init": torch.zeros(1)}
    config = as_config(given, net, Annealed(steps=7), net.priors["gaussian"], "annealed", "imagenet")
    assert (config["seeds"], config["out"], config["prior"]) == ([0, 1], "o", "gaussian")
    assert "progress" not in config
    flat = deciding(config)
    assert flat["sampler.steps"] == 7
    assert flat["condition.expression"] == "imagenet"
    assert not {key.partition(".")[0] for key in flat} & set(FREE)
    assert plain({1: (2, torch.float32)}) == {"1": [2, "torch.float32"]}


def test_objects_and_files_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    given = {"init": None, "model": "m", "condition": f"{file}:Red", "prior": None, "sampler": {"x": {"y": str(file)}}}
    given |= {"target": None}
    nets = [PPGN(TinyGenerator(seed, torch.float32), TinyEncoder(dtype=torch.float32)) for seed in (0, 0, 1)]
    found = []
    for net, text in zip(nets, ("a", "a", "b"), strict=True):
        file.write_text(text)
        found.append(contents(given, net))
    assert found[0] == found[1]
    assert found[0].keys() == {f"contents of {part}" for part in ("model", "condition", "sampler.x.y")}
    assert all(found[0][key] != found[2][key] for key in found[0])
