"""A Ray cluster draws what one process draws; a worker that is killed is replaced, bad addresses are one line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppgn.cli import main
from tests.engines.lost import workers
from tests.engines.test_processes import assert_same, linux, start, wait, words

Run = Callable[..., int]
pytest.importorskip("ray", reason="the extra cluster is not installed")


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster of two cores on this machine alone."""
    folder = tempfile.mkdtemp(prefix="ray")
    line = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", "--port=0", "--num-cpus=2"]
    line += ["--include-dashboard=false", "--object-store-memory=100000000", f"--temp-dir={folder}"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment["RAY_AUTH_MODE"] = "disabled"
    program = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *line]
    process = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    told = Path(folder) / "ray_current_cluster"
    assert wait(lambda: told.exists() and told.read_text(), 100)
    yield told.read_text().strip()
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@linux
def test_nothing_is_lost_where_a_worker_is_killed(tiny: Path, tmp_path: Path) -> None:
    steps, out = "steps=200", tmp_path / "many"
    run = start(tiny, steps, "cluster=local", "workers=2", f"out={out}")
    assert wait(lambda: list(out.glob("chains-*")), 200)
    time.sleep(0.3 * random.random())
    os.kill(workers(run.pid)[0], signal.SIGKILL)
    said, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    assert "another goes on with its seeds" in err
    assert said.count("5 samples in ") == len(said.splitlines()) == 1
    assert main(words(tiny, steps, f"out={tmp_path / 'one'}")) == 0
    assert_same(tmp_path / "one", out)


def test_a_cluster_that_is_there_is_used(tiny: Path, tmp_path: Path, head: str) -> None:
    run = start(tiny, "steps=4", f"cluster={head}", f"out={tmp_path / 'many'}")
    assert main(words(tiny, "steps=4", f"out={tmp_path / 'one'}")) == 0
    _, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    assert_same(tmp_path / "one", tmp_path / "many")
    assert json.loads((tmp_path / "many" / "report.json").read_text())["workers"] == 2


def test_what_cannot_be_is_one_line(
    sample: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample("target=1", "cluster=127.0.0.1:9") == 2
    line = "ppgn: no cluster answers at 127.0.0.1:9; ray start --head starts one, cluster=local one for this run"
    assert capsys.readouterr().err.splitlines() == [line]
    for wrong, said in {
        ("workers=2",): "add cluster=auto, or give devices=2",
        ("cluster=auto", "workers=0"): "workers=0",
        ("cluster=auto", "devices=2"): "workers=2 instead",
        ("cluster=auto", "device=cuda:1"): "use cpu, cuda or auto",
        ("cluster=auto", "animate=a.webp"): "leave out",
        ("cluster=nowhere",): "no cluster answers at nowhere",
    }.items():
        assert sample("target=1", *wrong) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sample("target=1", "cluster=local") == 2
    assert capsys.readouterr().err == "ppgn: cluster=local needs Ray: pip install 'ppgn[cluster]'\n"
    assert not list(Path().iterdir())


def test_the_machine_belongs_to_what_was_started_there(tmp_path: Path, monkeypatch: Any) -> None:
    from ppgn.engines import cluster

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(cluster, "_answers", lambda address: address == "127.0.0.1:7")
    assert cluster._found("auto") == "local"
    (tmp_path / "ray").mkdir()
    for told, found in {"127.0.0.1:7": "127.0.0.1:7", "127.0.0.1:8": "local"}.items():
        (tmp_path / "ray" / "ray_current_cluster").write_text(told)
        assert cluster._found("auto") == found
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:7")
    assert cluster._found("auto") == "127.0.0.1:7"
