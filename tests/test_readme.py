"""What the README shows works as it stands: its Python runs, its commands are understood."""

from __future__ import annotations

import contextlib
import re
import shlex
import warnings
import wave
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import nn

import ppgn
from ppgn import paths, sampling
from ppgn.cli import config, help, main, overrides
from ppgn.media import images

VERBS = ("sample", "inpaint", "edit", "facets", "invert", "deconv", "patches", "dissect", "card", "evaluate")
README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SHOWN = "".join(text for language, text in BLOCKS if language != "python")
COMMANDS = [
    (verb, command.strip())
    for text in (SHOWN, *(help.command([name, "--help"]).rpartition("\nexample")[2] for name in VERBS))
    for verb, command in re.findall(
        r"\bppgn (sample|inpaint|edit|facets|invert|deconv|patches|dissect|card|evaluate) ([^#\n\[]*=[^#\n]*)", text
    )
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


NEEDS = {  # what a line has that a test has not, and where the README says so
    "pip install": "on a plain CPU or on a GPU if there is one, with nothing to download but packages",
    "uv sync": "the versions of `uv.lock`",
    "--torch-backend cpu": "if it reaches PyTorch's own index",
    "devices=": "# a process a GPU",
    "cluster=": "# on the workers of a Ray cluster",
    "data=FOLDER": "`FOLDER` holds photographs",
    "data=MINIPLACES": "`MINIPLACES` and `FLICKR8K` hold",
    "data=FLICKR8K": "`MINIPLACES` and `FLICKR8K` hold",
    "data.root=DATA": "`DATA` holds",
    "data.root=shards": "are packed into .tar files",
    "model=runs/prior/": "puts it into the model",
    "model=runs/decoder/": "which `ppgn invert` then starts from",
    ".caffemodel": "which their release downloads",
    "model=released.safetensors": "which their release downloads",
    "model=hf:": "a download of gigabytes",
    'source: "hf:': "a download of gigabytes",
    "data=concepts-128": "a pack of pictures with named pixels",
    "ppgn serve": "prints the address of a page on this machine",
    "tests/benchmarks": "# medians of runs in turn",
}
LINES = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
QUICK = {
    "sample": ("seeds=0-1", "steps=2", "sampler=annealed", "out=out", "overwrite=true"),
    "inpaint": ("seeds=0", "steps=2", "out=out", "context.imputations=2", "context.drawings=4"),
    "edit": ("seeds=0", "steps=2", "out=out", "judge=null"),
    "facets": ("seeds=0", "steps=2", "out=out", "k=2", "nearest=2"),
    "invert": ("steps=2", "out=out"),
    "maximize": ("seeds=0", "evaluations=2", "out=out"),
    "card": ("seeds=0", "evaluations=2", "k=0", "n=1", "out=out"),
}


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name: a photo, pictures of a thing, networks and vectors."""
    folder = tmp_path_factory.mktemp("materials")
    draw = torch.Generator().manual_seed(0)
    for name in ("photo.jpg", *(f"{name}/{number}.jpg" for name in ("teapots", "photos") for number in range(9))):
        images.write(folder / name, torch.rand(3, 64, 64, generator=draw))
    with wave.open(str(folder / "seven.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(torch.randint(-9999, 9999, (8000,), dtype=torch.int16, generator=draw).numpy().tobytes())
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch would rather have torch.export
        patched.syspath_prepend(str(folder))
        patched.setattr(ppgn, "sample", lambda *given, **words: None)
        names: dict[str, Any] = {"ppgn": ppgn}
        for text in (text for language, text in BLOCKS if language == "python" and re.search(r"\bnet\b", text)):
            if text.startswith("# nets.py"):
                Path("nets.py").write_text(text)
            exec(compile(text, "README.md", "exec"), names)
        torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)), torch.ones(1, 3, 64, 64)).save(
            "my_classifier.ts"
        )
    return folder


@pytest.mark.parametrize("line", LINES)
def test_every_line_runs_or_says_what_it_needs(
    line: str, materials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs = [said for sign, said in NEEDS.items() if sign in line]
    if needs:
        assert all(said in " ".join(README.split()) for said in needs)
        return
    if "net.pt2" in line and Version(torch.__version__) < Version("2.8"):
        pytest.skip("PyTorch 2.4 to 2.6 cannot take the modules of this file apart; 2.8 can")
    if "facets" in line:
        pytest.importorskip("sklearn", reason="the extra facets is not installed")
    for made in materials.iterdir():
        (tmp_path / made.name).symlink_to(made)
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line, comments=True)
    quick = QUICK.get(words[0], ()) if "--help" not in words else ()
    quick = tuple(word.replace("seeds=0-1", "seeds=0-7") for word in quick) if "shard=" in line else quick
    replaced = {word.partition("=")[0] for word in quick}
    kept = [word for word in words if word.partition("=")[0] not in replaced]
    assert program == "ppgn"
    assert main([*kept, *quick]) == 0
    assert not quick or next(chain(Path().rglob("*.png"), Path().rglob("*.wav")))


@pytest.mark.parametrize(("verb", "command"), COMMANDS)
def test_commands_are_understood(verb: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not word.startswith("config=")]  # a run's, which is not here
    if "--multirun" in words:
        words.remove("--multirun")
        words = [f"{key}={first}" for key, (first, *_) in map(overrides.values, words)]
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
