"""Several processes draw what one draws; where one of them dies the others finish, and resume=true does the rest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ppgn.cli import main
from ppgn.runs import Run as Results

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., int]


def words(tiny: Path, *more: str) -> list[str]:
    given = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    given += ["condition.size=16", "target=1", "seeds=[5,0,3,8,1]", "batch_size=1", "device=cpu", "precision=float64"]
    return ["sample", *given, "prior=gaussian", *more]


def environment(**more: object) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | {k: str(v) for k, v in more.items()}


def assert_same(one: Path, other: Path) -> None:
    a, b = (load_file(folder / "samples.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    rows = [json.loads((folder / "report.json").read_text())["samples"] for folder in (one, other)]
    assert [row["seed"] for row in rows[0]] == [row["seed"] for row in rows[1]]
    assert [row["prob"] for row in rows[0]] == pytest.approx([row["prob"] for row in rows[1]])


def test_two_processes_draw_what_one_draws(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words(tiny, "steps=4", f"out={tmp_path / 'one'}")) == 0
    said = capfd.readouterr().out
    command = [sys.executable, "-m", "ppgn", *words(tiny, "steps=4", "devices=2", f"out={tmp_path / 'two'}")]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("5 samples in ") == said.count("5 samples in ") == 1
    assert_same(tmp_path / "one", tmp_path / "two")
    names = ["config.yaml", "grid.png", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names


def test_a_process_that_dies_loses_its_unfinished_batch_alone(tiny: Path, tmp_path: Path) -> None:
    """The two are started from outside, as by torchrun, and the second is killed while it walks its second chain."""
    out, steps = tmp_path / "two", "steps=300"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "NODE_RANK": 0}
    command = [sys.executable, "-m", "ppgn", *words(tiny, steps, "devices=2", f"out={out}")]
    processes = [
        subprocess.Popen(command, env=environment(LOCAL_RANK=rank, **shared), cwd=tmp_path, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        first = out / "rank-1" / "samples.safetensors"
        while not first.exists() and all(process.poll() is None for process in processes):
            time.sleep(0.02)
        processes[1].kill()
        _, err = processes[0].communicate(timeout=300)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1
    assert b"one of 2 processes died, the others have finished; resume=true joins what there is" in err
    assert load_file(out / "rank-0" / "samples.safetensors")["seeds"].tolist() == [5, 3, 1]
    assert load_file(first)["seeds"].tolist() == [0]
    assert main(words(tiny, steps, f"out={tmp_path / 'one'}")) == 0
    assert main(words(tiny, steps, f"out={out}", "resume=true")) == 0
    one, two = (load_file(folder / "samples.safetensors") for folder in (tmp_path / "one", out))
    assert sorted(two["seeds"].tolist()) == [0, 1, 3, 5, 8]
    for row, seed in enumerate(two["seeds"].tolist()):
        assert torch.equal(two["codes"][row], one["codes"][one["seeds"].tolist().index(seed)])
    assert not list(out.glob("rank-*"))


def test_chains_left_unfinished_are_dealt_to_the_processes_there_are(tmp_path: Path) -> None:
    def fresh(count: int) -> Results:
        folder = tmp_path / str(count)
        for rank in range(count):
            (folder / f"rank-{rank}").mkdir(parents=True)
            (folder / f"rank-{rank}" / "chains-0.safetensors").write_text(str(rank))
        return Results(folder, {}, {}, [], {})

    def found(results: Results) -> dict[str, str]:
        return {
            str(p.relative_to(str(results.folder))): p.read_text() for p in Path(str(results.folder)).rglob("chains*")
        }

    chains = "chains-0.safetensors"
    for count, keep, expected in (
        (1, True, {chains: "0"}),
        (2, True, {f"rank-0/{chains}": "0", f"rank-1/{chains}": "1"}),
        (3, True, {f"rank-{rank}/{chains}": str(rank) for rank in range(3)}),
        (2, False, {}),
    ):
        results = fresh(3)
        results.deal(count, keep=keep)
        assert found(results) == expected
        for path in sorted(Path(str(results.folder)).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        Path(str(results.folder)).rmdir()


def test_several_devices_that_cannot_be(sample: Run, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert sample("target=1", "devices=2", "animate=a.webp") == 2
    assert "animate cannot be used with several devices" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert sample("target=1", "devices=2", "device=cuda:1") == 2
    assert "device=cuda:1 is one device, not devices=2; use device=cuda" in capsys.readouterr().err
    assert sample("target=1", "devices=3", "device=cuda") == 2
    assert "devices=3 cannot be used: 2 GPUs are visible" in capsys.readouterr().err
