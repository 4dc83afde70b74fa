"""Several processes draw what one draws; one that is killed is replaced, and none outlives the one that started it."""

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

from ppgn.cli import main
from ppgn.engines import processes
from ppgn.engines.contract import Batch, LostError
from ppgn.errors import InputError
from ppgn.progress import Seen

ROOT = Path(__file__).resolve().parents[2]
SPAWNED = "from multiprocessing.spawn import spawn_main"
Run = Callable[..., int]


def words(tiny: Path, *more: str) -> list[str]:
    given = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    given += ["condition.size=16", "target=1", "seeds=[5,0,3,8,1]", "batch_size=1", "device=cpu", "precision=float64"]
    return ["sample", *given, "prior=gaussian", "judge=none", *more]


WAITS = """
import time, torch
from pathlib import Path
from ppgn.engines.contract import Batch
from ppgn.engines.processes import Processes
from ppgn.progress import Seen

def make(device):
    def walk(batch, tell):
        while True:
            tell(Seen(1, 2, [0.0]))
            Path(__file__).with_name("walks").touch()
            time.sleep(0.1)
    return walk

if __name__ == "__main__":
    with Processes(1, torch.device("cpu")) as engine:
        engine.hire(make, print)
        while True:
            if engine.free:
                engine.start(Batch((0,)))
            engine.wait()
"""


def start(tiny: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ppgn", *words(tiny, *more)]
    # A shell's background jobs ignore interruptions, and so would what is started by tests in one.
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1, **options)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The workers of a process that runs."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(number) for number in found if SPAWNED in Path(f"/proc/{number}/cmdline").read_text()]


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
    assert wait(lambda: len(list(out.glob("chains-*"))) == 2)  # both are at work
    os.kill(children(run)[1], signal.SIGKILL)
    said, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "was killed by signal 9; another goes on" in err
    assert said.count("5 samples in ") == 1
    assert_same(tmp_path / "one", out)
    names = ["config.yaml", "grid.png", "images", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names


@linux
def test_an_interruption_ends_all_processes_and_leaves_what_can_be_resumed(tiny: Path, tmp_path: Path) -> None:
    run = start(tiny, "steps=3000", "devices=2", "oversubscribe=true", f"out={tmp_path / 'o'}")
    assert wait(lambda: len(list((tmp_path / "o").glob("chains-*"))) == 2)
    started = children(run)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "0 of 5 seeds are finished" in err
    assert not any(runs(number) for number in started)
    assert len(list((tmp_path / "o").glob("chains-*"))) == 2


@linux
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    run = subprocess.Popen([sys.executable, tmp_path / "waits.py"], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert wait((tmp_path / "walks").exists)
    started = children(run)  # type: ignore[arg-type]
    run.kill()
    run.wait()
    assert len(started) == 1
    assert wait(lambda: not runs(started[0]), 10)


def test_several_devices_that_cannot_be(sample: Run, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert sample("target=1", "devices=2", "animate=a.webp") == 2
    assert "animate shows the chains of one process" in capsys.readouterr().err
    assert sample("target=1", f"devices={processes.cores() + 1}") == 2
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


def breaks(device: str) -> Any:
    """A worker that raises what a batch is called, tells of it, or dies."""

    def walk(batch: Batch, tell: Callable[[Seen], None]) -> Any:
        if batch.seeds[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if batch.seeds[0] == 1:
            raise InputError(f"one on {device}")
        tell(Seen(1, 2, [0.0]))
        return batch.seeds[0] + torch.get_num_threads()

    return walk


def test_every_batch_comes_back_once_whatever_happens_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told: list[Any] = []
    found: dict[Any, Any] = {}
    with processes.Processes(2, torch.device("cpu"), oversubscribe=True) as engine:
        engine.hire(breaks, lambda batch, seen: told.append((batch.seeds, seen.step)))
        waiting = [Batch((seed,)) for seed in range(4)]
        while len(found) < 4:
            assert engine.free + engine.at_work <= 2
            while waiting and engine.free:
                engine.start(waiting.pop())
            found |= {batch.seeds[0]: said for batch, said in engine.wait() if batch}
        started = [worker.process for worker in engine.workers.values()]
    assert isinstance(found[0], LostError)
    assert "signal 9" in str(found[0])
    assert isinstance(found[1], InputError)
    assert str(found[1]) == "one on cpu"
    assert (found[2], found[3]) == (3, 4)
    assert sorted(told) == [((2,), 1), ((3,), 1)]
    assert len(started) == 2
    assert not any(process.is_alive() for process in started)


def test_what_no_other_process_can_have_is_refused() -> None:
    with processes.Processes(1, torch.device("cpu")) as engine, pytest.raises(InputError, match="other processes"):
        engine.hire(lambda device: breaks(device), print)
