"""`ppgn serve` in a process of its own: it says where, answers, and ends when it is interrupted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ppgn.cli import main


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    words = [sys.executable, "-m", "ppgn", "serve", "port=0", "device=cpu", "out=out"]
    server = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
        assert address is not None
        with urllib.request.urlopen(address[0], timeout=10) as answer:
            assert b"<title>ppgn</title>" in answer.read()
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=20)
    finally:
        server.kill()
    assert (server.returncode, said) == (0, "")
    assert not (tmp_path / "out").exists()  # nothing was drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["share=true"], "give host=0.0.0.0 too"),
        (["host=0.0.0.0"], "give share=true as well"),
        (["prot=3"], "unknown key 'prot'; nearest: port"),
        (["goldfish"], "expected key=value"),
    ],
)
def test_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    assert main(["serve", *words]) == 2
    assert message in capsys.readouterr().err
