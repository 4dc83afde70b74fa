"""The command itself: its words, its exit statuses, and the version."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from ppgn.cli import main

QUICK = """
import sys
from ppgn.cli import main
status = main({words})
slow = {{"torch", "hydra", "timm", "numpy", "lightning"}} & set(sys.modules)
assert not slow, slow
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words",
    [
        *([], ["--help"], ["sample", "--help"], ["models", "-h"], ["units", "-h"], ["--version"], ["train"]),
        *(["train", "generator", "-h"], ["evaluate", "--help"], ["sample", "sampler=mala", "condition=unit", "-h"]),
    ],
)
def test_help_imports_nothing_slow(words: list[str]) -> None:
    run = subprocess.run([sys.executable, "-c", QUICK.format(words=words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(run.stdout) > 4


def test_the_networks_that_come_along_load_without_the_libraries_of_others() -> None:
    """timm, and by way of it torchvision and torch's compiler, take as long to import as torch itself."""
    code = "import sys, ppgn; ppgn.condition('imagenet:goldfish'); ppgn.load()\n"
    code += "print({'timm', 'torchvision', 'transformers', 'lightning', 'scipy', 'torch._inductor'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("set()\n", "")


@pytest.mark.parametrize(("own", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_do_not_spin_unless_a_user_wants_it(
    own: str | None, policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", own or "")
    if own is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["--version"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == policy


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ppgn {version('ppgn')}\n"


def test_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "ppgn", "smaple"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "ppgn: unknown command 'smaple'; nearest: sample, completion; see ppgn --help\n"


def test_output_may_be_cut_short() -> None:
    command = f"{sys.executable} -m ppgn models | true"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_what_was_imported_is_not_searched_for_garbage() -> None:
    code = "import gc; from ppgn.cli import main; main(['units']); print(gc.isenabled(), gc.get_freeze_count())"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert told[-2] == "True"
    assert int(told[-1]) > 10000
