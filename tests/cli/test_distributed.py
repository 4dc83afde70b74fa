"""Several processes draw what one draws; one that is killed goes on, and none outlives the one that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import ppgn
from ppgn.cli import distributed, main
from ppgn.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., int]


def words(tiny: Path, *more: str) -> list[str]:
    given = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    given += ["condition.size=16", "target=1", "seeds=[5,0,3,8,1]", "batch_size=1", "device=cpu", "precision=float64"]
    return ["sample", *given, "prior=gaussian", *more]


def start(tiny: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ppgn", *words(tiny, *more)]
    # A shell's background jobs ignore interruptions, and so would what is started by tests in one.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1, **options)


def children(process: subprocess.Popen[str]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(number) for number in found]


def runs(number: int) -> bool:
    """Whether a process is there and more than an entry that nobody has taken note of."""
    try:
        return bool(Path(f"/proc/{number}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(true: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def assert_same(one: Path, other: Path) -> None:
    a, b = (load_file(folder / "samples.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a if name != "rows")
    rows = [json.loads((folder / "report.json").read_text())["samples"] for folder in (one, other)]
    assert [row["seed"] for row in rows[0]] == [row["seed"] for row in rows[1]]
    assert [row["prob"] for row in rows[0]] == pytest.approx([row["prob"] for row in rows[1]])


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_two_processes_draw_what_one_draws_though_one_is_killed(tiny: Path, tmp_path: Path) -> None:
    steps, out = "steps=120", tmp_path / "two"
    assert main(words(tiny, steps, f"out={tmp_path / 'one'}")) == 0
    run = start(tiny, steps, "devices=2", "oversubscribe=true", f"out={out}")
    assert wait(lambda: list(out.glob("*-2of2-*")))
    os.kill(children(run)[1], signal.SIGKILL)
    said, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "process 2 of 2 was killed" in err
    assert said.count("5 samples in ") == 1
    assert_same(tmp_path / "one", out)
    names = ["config.yaml", "grid.png", "images", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names


@linux
def test_no_process_outlives_the_one_that_started_it(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    run = start(tiny, "steps=3000", "devices=2", "oversubscribe=true", f"out={out}")
    assert wait(lambda: list(out.glob("chains-*")))
    started = children(run)
    run.kill()
    run.communicate()
    gone = wait(lambda: not any(runs(number) for number in started), 10)
    assert gone, started
    again = start(tiny, "steps=3000", "devices=2", "oversubscribe=true", f"out={out}", "resume=true")
    assert wait(lambda: len(children(again)) == 2)  # no lock is left
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=120)
    assert again.returncode == 130


def test_shares_are_walked_without_talk_and_read_as_one(tiny: Path, tmp_path: Path) -> None:
    out, steps = f"out={tmp_path / 'o'}", "steps=4"
    assert main(words(tiny, steps, f"out={tmp_path / 'one'}")) == 0
    for share in ("2/3", "3/3"):
        assert main(words(tiny, steps, out, f"shard={share}")) == 0
    partly = ppgn.open_samples(tmp_path / "o")
    assert [row["seed"] for row in partly] == [0, 1, 3]  # 5, 0, 3, 8, 1 dealt to three
    assert main(words(tiny, steps, out, "shard=1/3")) == 0
    whole, one = ppgn.open_samples(tmp_path / "o"), ppgn.open_samples(tmp_path / "one")
    codes = {row["seed"]: row["code"] for row in one}
    assert sorted(row["seed"] for row in whole) == sorted(codes)
    assert all(torch.equal(row["code"], codes[row["seed"]]) for row in whole)
    whole.check()
    assert main(words(tiny, steps, out, "resume=true")) == 0
    assert_same(tmp_path / "one", tmp_path / "o")


def test_a_task_of_an_array_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    from ppgn.sampling import share_of

    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="array"):
        share_of("slurm")
    for name, value in {"PROCID": 1, "NTASKS": 2}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert share_of("slurm") == (2, 2)
    for name, value in {"ID": 14, "MIN": 10, "STEP": 2, "COUNT": 4}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert share_of("slurm") == (3, 4)
    for wrong in ("9/8", "0/8", "3", "a/b", True):
        with pytest.raises(InputError, match="K/N"):
            share_of(wrong)  # type: ignore[arg-type]


def test_several_devices_that_cannot_be(sample: Run, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert sample("target=1", "devices=2", "animate=a.webp") == 2
    assert "animate cannot be used with several devices" in capsys.readouterr().err
    assert sample("target=1", f"devices={distributed.cores() + 1}") == 2
    assert "oversubscribe=true" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert sample("target=1", "devices=2", "device=cuda:1") == 2
    assert "device=cuda:1 is one device, not devices=2; use device=cuda" in capsys.readouterr().err
    assert sample("target=1", "devices=3", "device=cuda") == 2
    assert "this machine has 2 GPUs" in capsys.readouterr().err


def test_what_cannot_be_used_is_said_once(tiny: Path, tmp_path: Path) -> None:
    run = start(tiny, "devices=2", "oversubscribe=true", "prior=jiont", f"out={tmp_path / 'o'}")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert err.count("jiont") == len(err.splitlines()) == 1


class Killed(subprocess.Popen[bytes]):
    def poll(self) -> int:
        self.wait()
        return -9


def test_a_process_that_is_killed_again_and_again_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    started: list[Any] = []

    def start(*_: Any, **__: Any) -> Killed:
        started.append(Killed([sys.executable, "-S", "-c", ""]))
        return started[-1]

    processes = distributed.Processes([], 1, torch.device("cpu"), tmp_path)
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(InputError, match="status -9"):
        processes.run()
    assert len(started) == distributed.TRIES
