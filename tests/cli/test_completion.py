"""The tab key completes verbs, keys and names, quickly and in a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppgn.cli import completion, help, main


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ppgn sam", ["sample"]),
        ("ppgn ", list(help.VERBS)),
        ("ppgn", list(help.VERBS)),
        ("ppgn sample targ", ["target="]),
        ("ppgn sample target=dog sampler=annealed sampler.epsilon1", ["sampler.epsilon1="]),
        ("ppgn sample sampler=ann", ["sampler=annealed"]),
        ("ppgn sample model=nat", ["model=natural128", "model=natural64", "model=natural64_joint"]),
        ("ppgn sample resume=", ["resume=true", "resume=false"]),
        ("ppgn evaluate what=rec", ["what=reconstruction"]),
        ("ppgn train gen", ["generator"]),
        ("ppgn train generator data.batch", ["data.batch_size="]),
        ("ppgn completion z", ["zsh"]),
        ("ppgn sampel tar", []),
        ("ppgn sample sampler=nothing sampler.eps", []),
    ],
)
def test_offers_what_could_follow(line: str, expected: list[str]) -> None:
    assert completion.offered(line) == expected


def test_a_key_that_was_typed_is_not_offered_again() -> None:
    assert "target=" not in completion.offered("ppgn sample target=dog ")


@pytest.mark.parametrize("words", [[], ["bash", "zsh"], ["tcsh"]])
def test_says_which_shells_there_are(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("line", "reply"), [("ppgn sam", "sample"), ("ppgn sample sampler=ann", "annealed")])
def test_bash_completes(line: str, reply: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    command = f"ppgn() {{ '{sys.executable}' -m ppgn \"$@\"; }}\n{script}\n"
    command += f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _ppgn; echo \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == reply, done.stderr
