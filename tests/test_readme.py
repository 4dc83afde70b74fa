"""What the README shows works as it stands: its Python runs, its commands are understood."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ppgn
from ppgn import paths, sampling
from ppgn.cli import config, help, main

VERBS = ("sample", "inpaint", "edit", "facets", "evaluate")
README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SHOWN = "".join(text for language, text in BLOCKS if language != "python")
COMMANDS = [
    (verb, command.strip())
    for text in (SHOWN, *(help.command([name, "--help"]).rpartition("\nexample")[2] for name in VERBS))
    for verb, command in re.findall(r"\bppgn (sample|inpaint|edit|facets|evaluate) ([^#\n\[]*=[^#\n]*)", text)
]
EXTEND = re.findall(r"^\| [^|]+ \|.*\| `((?:condition|prior|sampler|model)=.*)` \|$", README, re.MULTILINE)


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    sample = sampling.sample

    def few(*given: Any, **words: Any) -> Any:
        drawn.append(
            sample(*given, **{"sampler": "annealed"} | words | {"seeds": [0, 1], "steps": 2, "progress": False})
        )
        return drawn[-1]

    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(sampling, "sample", few)
        for language, text in BLOCKS:
            if language == "python":
                if text.startswith("# nets.py"):
                    (tmp_path / "nets.py").write_text(text)
                exec(compile(text, "README.md", "exec"), names)
    assert [len(samples) for samples in drawn] == [2, 2, 2, 2]
    assert (tmp_path / "outputs" / "goldfish" / "grid.png").exists()
    section = README.partition("## Your own network")[2].partition("\n## ")[0]
    for command in re.findall(r"^ppgn ([^#\n]*)", section, re.MULTILINE):
        words = shlex.split(command)
        quick = ["seeds=0", "steps=2", "sampler=annealed", "out=out", "overwrite=true"] if words[0] == "sample" else []
        assert main([*words, *quick]) == 0


@pytest.mark.parametrize(("verb", "command"), COMMANDS)
def test_commands_are_understood(verb: str, command: str) -> None:
    words = shlex.split(command)
    if "--multirun" in words:
        words.remove("--multirun")
        words = [f"{key}={first}" for key, (first, *_) in map(config.values, words)]
    function, given, _ = config.read(verb, words)
    assert function.startswith("ppgn.")
    assert given


@pytest.mark.parametrize("words", EXTEND)
def test_each_row_of_the_table_of_extensions_works(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent / "outside")
    key, _, value = shlex.split(words)[0].partition("=")
    parts: dict[str, Any] = {"model": "mine.py:Generator", "condition": "mine.py:Red", "sampler": "ppgn"}
    run = partial(ppgn.sample, seeds=[0, 1], steps=3, **parts | {key: value})
    assert run().images.shape == (2, 3, 16, 16)


def test_every_kind_of_part_has_a_row() -> None:
    assert {words.partition("=")[0] for words in EXTEND} == {"condition", "prior", "sampler", "model"}


def test_names_every_sampler_prior_and_experiment() -> None:
    for option in [*paths.options("sampler"), "gaussian", "joint", *paths.options("experiment")]:
        assert f"\n| `{option}` | " in README
