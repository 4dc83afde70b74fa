"""What a newcomer types at first: each attempt is answered by one line that names the right words."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ppgn.cli import main

ATTEMPTS = [  # what is typed after ppgn, and what the answer must say
    ("goldfish", 'ppgn sample target="goldfish"'),
    ("golden retriever", 'ppgn sample target="golden retriever"'),
    ("target=goldfish", "ppgn sample target=goldfish"),
    ("sampel target=goldfish", "sample"),
    ("--sample target=goldfish", "sample"),
    ("sample", "target=NAME"),
    ("sample goldfish", "target=goldfish"),
    ("sample target=gold fish", '"target=gold fish"'),
    ("sample --target goldfish", "target=goldfish"),
    ("sample --target=goldfish", "target=goldfish"),
    ("sample -t goldfish", "target=goldfish"),
    ("sample target: goldfish", "target=goldfish"),
    ("sample target = goldfish", "target=goldfish"),
    ("sample target=", "a name or an index"),
    ("sample target=dog", '"any:dog"'),
    ("sample target=computer", "laptop"),
    ("sample target=goldfsh", "goldfish"),
    ("sample target=1000", "0 to 999"),
    ("sample targt=goldfish", "target"),
    ("sample class=goldfish", "target=NAME"),
    ('sample prompt="a goldfish"', "condition=caption target="),
    ("sample target=goldfish seeds=8..", "0-15"),
    ("sample target=goldfish seed=3", "seeds"),
    ("sample target=goldfish n=4", "seeds=0-7"),
    ("sample target=goldfish steps=many", "whole number"),
    ("sample target=goldfish output=fish", "out=FOLDER"),
    ("sample target=goldfish gpu=true", "device=cuda"),
    ("sample target=goldfish device=gpu", "cuda"),
    ("sample target=goldfish model=natural", "natural64"),
    ("sample target=goldfish model=natural65.safetensors", "natural64"),
    ("sample target=goldfish condition=imagnet", "imagenet"),
    ("sample target=goldfish condition=resnet50", "network=NAME"),
    ("sample target=goldfish network=resnet50", "timm/resnet50"),
    ("sample target=goldfish sampler=ddim", "annealed"),
    ("sample target=goldfish init=nowhere.jpg", "nowhere.jpg"),
    ("sample target=goldfish labels=names.txt", "condition.network.labels=names.txt"),
    ("sample target=3 network=nets.py", "nets.py:NAME"),
    ("sample target=3 network=nets.py:nte", "no 'nte'"),
    ("sample target=3 network=nets.py:two", "takes 2 inputs (x, y)"),
    ("sample target=3 network=nets.py:net", "0 to 2"),
    ("sample target=b network=nets.py:net", "index"),
    ("sample target=2 network=nets.py:net weights=none.pth", "no such file"),
    ("sample target=2 network=nets.py:net condition.network.labels=[a,b]", "3 outputs"),
    ("sample target=2 network=nets.py:net size=20", "size=PIXELS"),
    ("sample condition=nets.py:net", "target=NAME"),
    ("sample target=3 network=none.pt2", "no such file"),
    ("sample target=3 condition=torchscript", "path=VALUE"),
    ("sample target=3 condition=none.py:Red", "no file 'none.py'"),
    ("sample unit=5", "condition=unit layer=NAME target=NUMBER"),
    ("sample condition=unit target=5", "layer=VALUE"),
    ("sample condition=unit layer=block4 target=5", "blocks.4"),
    ("sample condition=unit layer=blocks.4 target=goldfish", "0 to 111"),
    ("sample condition=unit layer=blocks.4 target=5 position=top", "center"),
    ("sample condition=direction layer=blocks.4 direction=none.safetensors", "no such file"),
    ("sample condition=sae layer=blocks.4 sae.path=none target=3", "no such file"),
    ('sample condition="imagenet:castle and places:beach"', "&"),
    ('sample condition="imagenet:castle & (places:beach"', "at its end"),
    ('sample condition=caption target="an axolotl swims"', "axolotl"),
    ("inpaint target=volcano", "image="),
    ("inpaint photo.jpg target=volcano", "image=photo.jpg"),
    ("inpaint image=nowhere.jpg target=volcano", "nowhere.jpg"),
    ("evaluate", "samples"),
    ("evaluate what=everything", "samples"),
    ("evaluate what=samples", "data=FOLDER"),
    ("train model", "generator"),
    ("facets target=teapot", "images="),
    ("maximize layer=bn2", "unit="),
    ("maximize layer=bn2 unit=5000", "0 to 1279"),
    ("maximize unit=goldfish method=deepdream", "lucid"),
    ("invert image=photo.jpg", "layer="),
    ("invert image=nowhere.jpg layer=bn2", "nowhere.jpg"),
    ("units layer=conv9", "conv_head"),
    ("units network=resnet18", "timm/resnet18"),
    ("classes unicorn", "nearest"),
    ("generate goldfish", "ppgn sample target=NAME"),
    ("list", "ppgn models"),
    ("version", "ppgn --version"),
    ("-x", "ppgn --help"),
    ("sample target=goldfish width=512", "ppgn models"),
    ("sample target=goldfish cfg=7.5", "sampler.epsilon2="),
    ("sample target=goldfish negative=blur", "~imagenet:b"),
    ("sample target=goldfish help=true", "--help"),
    ("sample target=goldfish format=png", "export=folder"),
    ("sample target=3 network=wrong.py:net", "is no Python, line 1"),
    ("inpaint image=photo.jpg hole=center", "mask=center"),
    ("units network=", "efficientnet_lite0"),
    ("units efficientnet_lite0", "network=efficientnet_lite0"),
    ("import generator.caffemodel", "generator=generator.caffemodel"),
]

MINE = """
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))

class two(nn.Module):
    def forward(self, x, y):
        return x
"""


@pytest.mark.parametrize(("typed", "answer"), ATTEMPTS)
def test_one_line_names_the_right_words(
    typed: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(MINE)
    (tmp_path / "wrong.py").write_text("def (:")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(typed)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert answer in said.err
    assert said.err.startswith("ppgn: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "typed", ["--help", "-h", "help", "", "sample --help", "sample -h", "help sample", "sample help"]
)
def test_help_comes_however_it_is_asked_for(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 0
    assert "usage: ppgn" in capsys.readouterr().out
