"""Chains on disk; that they go on as if nothing had happened is in test_chains and test_kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ppgn import files
from ppgn.contracts import Evaluation, State
from ppgn.errors import InputError
from ppgn.samplers import rows
from ppgn.samplers.checkpoint import FORMAT, ChainState, Kept

RUN = {"seeds": (4, 5), "steps": 8}
CPU = torch.device("cpu")


def state() -> State:
    code = torch.randn(2, 3, dtype=torch.float64)
    evaluation = Evaluation(torch.rand(2, 1, 4), code[:, 0], code, code)  # memory that is shared
    return State(code, evaluation, torch.tensor([True, False]), {"log_step": torch.rand(2)})


def test_nothing_is_rounded_on_the_way(tmp_path: Path) -> None:
    at, before = state(), state()
    saved = ChainState(at, 6, (Kept.of(before, 3, 0), Kept.of(at, 6, 1)), {"calls": {"init": 1}})
    saved.save(tmp_path / "chains", RUN)
    found = ChainState.load(tmp_path / "chains", RUN, CPU)
    assert (found.step, found.noise) == (6, {"calls": {"init": 1}})
    for name, value in rows.tensors(at.evaluation).items():
        assert torch.equal(rows.tensors(found.state.evaluation)[name], value), name
    assert found.state.evaluation.log_prior is None
    assert torch.equal(found.state.code, at.code)
    assert found.state.alive.tolist() == [True, False]
    assert torch.equal(found.state.memory["log_step"], at.memory["log_step"])
    assert [(kept.step, kept.target) for kept in found.kept] == [(3, 0), (6, 1)]
    assert torch.equal(found.kept[0].signals, before.evaluation.image)
    assert torch.equal(found.kept[1].codes, at.code)


def test_a_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    ChainState(state(), 6, (), {}).save(tmp_path / "chains", RUN)
    assert ChainState.load(tmp_path / "chains", RUN, CPU).kept == ()
    with pytest.raises(InputError, match=r"steps=8, now steps=9.*delete"):
        ChainState.load(tmp_path / "chains", RUN | {"steps": 9}, CPU)


def deep(tensors: Any, metadata: Any) -> None:
    inner: Any = []
    for _ in range(500):
        inner = [inner]
    metadata["progress"]["kept"] = inner


DAMAGE: dict[str, Any] = {
    "no code": lambda t, m: t.pop("code"),
    "no evaluation": lambda t, m: t.pop("evaluation.image"),
    "an evaluation of something else": lambda t, m: t.update({"evaluation.colour": t["code"]}),
    "rows of unequal number": lambda t, m: t.update(alive=t["alive"][:1]),
    "kept states of unequal number": lambda t, m: t.update({"kept.codes": t["kept.codes"][:, :1]}),
    "fewer kept states": lambda t, m: t.update({"kept.codes": t["kept.codes"][:1]}),
    "no kept states": lambda t, m: t.pop("kept.codes"),
    "a scalar": lambda t, m: t.update(alive=torch.tensor(True)),
    "codes that are whole numbers": lambda t, m: t.update(code=t["code"].long()),
    "alive in numbers": lambda t, m: t.update(alive=t["alive"].float()),
    "steps in words": lambda t, m: m["progress"].update(step="six"),
    "no steps": lambda t, m: m["progress"].pop("step"),
    "kept as a number": lambda t, m: m["progress"].update(kept=3),
    "kept without targets": lambda t, m: m["progress"].update(kept=[[1], [2]]),
    "deep lists": deep,
    "noise as a list": lambda t, m: m["progress"].update(noise=[]),
    "calls in words": lambda t, m: m["progress"].update(noise={"calls": {"init": "one"}}),
    "calls as a list": lambda t, m: m["progress"].update(noise={"calls": [1]}),
    "progress as text": lambda t, m: m.update(progress="all"),
    "no progress": lambda t, m: m.pop("progress"),
    "a run as a list": lambda t, m: m.update(run=[]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    at = state()
    ChainState(at, 6, (Kept.of(at, 3, 0), Kept.of(at, 6, 1)), {"seeds": [4, 5], "calls": {}}).save(tmp_path / "c", RUN)
    tensors, metadata = files.load(tmp_path / "c", FORMAT)
    DAMAGE[damage](tensors, metadata)
    files.save(tmp_path / "c", tensors, metadata.pop("format"), **metadata)
    with pytest.raises(InputError, match=str(tmp_path / "c")):
        ChainState.load(tmp_path / "c", RUN, CPU)
