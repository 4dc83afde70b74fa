"""The command itself: help that comes at once and tells the truth, and the version."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from omegaconf import OmegaConf

from ppgn import paths
from ppgn.cli import main
from ppgn.cli.config import experiments

QUICK = """
import sys
from ppgn.cli import main
status = main({words})
slow = {{"torch", "hydra", "timm", "numpy", "lightning"}} & set(sys.modules)
assert not slow, slow
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["sample", "--help"], ["models", "-h"], ["units", "-h"], ["--version"]]
)
def test_help_imports_nothing_slow(words: list[str]) -> None:
    run = subprocess.run([sys.executable, "-c", QUICK.format(words=words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(run.stdout) > 4


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ppgn {version('ppgn')}\n"


def test_help_of_sample_gives_every_key_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--help"]) == 0
    text = capsys.readouterr().out
    settings = OmegaConf.to_container(OmegaConf.load(paths.conf() / "sample.yaml"))
    assert isinstance(settings, dict)
    groups = {
        group: option
        for entry in settings.pop("defaults")
        if isinstance(entry, dict)
        for group, option in entry.items()
    }
    settings["target"] = "goldfish"
    for key, default in {**groups, **settings}.items():
        shown = str(default).lower().replace("none", "null")
        assert f"\n  {key}={shown} " in text
    for group in groups:
        options = experiments("sample") if group == "experiment" else paths.options(group)
        assert all(option in text for option in options)
    assert "(mixture, joint, dae, gaussian)" in text


def test_help_fits_a_wide_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--help"],
        ["sample", "--help"],
        ["models", "--help"],
        ["units", "--help"],
        ["facets", "--help"],
        ["inpaint", "--help"],
    ):
        main(words)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "ppgn", "smaple"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "ppgn: unknown command 'smaple'; nearest: sample; see ppgn --help\n"


def test_output_may_be_cut_short() -> None:
    command = f"{sys.executable} -m ppgn models | true"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
