"""Whatever a person mistypes: one line on stderr that says what to type instead, status 2, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from ppgn.cli import main
from ppgn.errors import InputError

Run = Callable[..., int]

BAD = [
    (("target=5",), "class index 5 is out of range: expected 0 to 3"),
    (("target=goldfish",), "class 'goldfish': this network has no class names; give an index from 0 to 3"),
    (("target=",), "target '' cannot be used; expected a name or an index"),
    (("target=[]",), "target=[] is empty"),
    (("target=true",), "target 'True' cannot be used; expected a name or an index"),
    (("targt=1",), "unknown key 'targt'; nearest: target"),
    (("target=1", "sampler.epsilon=1"), "unknown key 'sampler.epsilon'; nearest: sampler.epsilon"),
    (("target=1", "experiment=natural64_cpu"), "experiment=natural64_cpu cannot be used here; expected one of: "),
    (("target=1", "--seeds=3"), "cannot read '--seeds=3'; expected key=value"),
    (("target", "1"), "cannot read 'target'; expected key=value"),
    (("target=1", "größe=3"), "cannot read the key of 'größe=3'"),
    (("target=1", "sampler..steps=3"), "cannot read the key of 'sampler..steps=3'"),
    (("target=1", "condition=imagnet"), "unknown condition 'imagnet'; nearest: imagenet"),
    (("target=1", "sampler=realesed"), "unknown sampler 'realesed'; nearest: released"),
    (("target=1", "prior=jiont"), "unknown prior 'jiont'; nearest: joint"),
    (("target=1", "condition=xyz"), "unknown condition 'xyz'; for example: caption, digit, digits"),
    (("condition=imagnet:castle & places:beach",), "unknown condition 'imagnet'; nearest: imagenet"),
    (("condition=torchscript:1 &",), "cannot read condition=torchscript:1 & at its end; expected NAME:TARGET"),
    (("target=1", "strength=0.5"), "strength=0.5 needs init=FILE"),
    (("target=1", "strength=0"), "strength=0 cannot be used; expected a number above 0, at most 1"),
    (("target=1", "threshold=98"), "threshold=98 cannot be used; expected a number above 0, at most 1"),
    (("target=1", "animate=chain.jpg"), "cannot animate 'chain.jpg'; give a name that ends in .webp, .gif, .png"),
    (("target=1", "animate=chain.webp", "resume=true"), "animate cannot be used with resume=true"),
    (("target=1", "animate_every=0"), "animate_every=0 cannot be used; expected a whole number from 1 on"),
    (("target=1", "condition.target=2"), "unknown key 'condition.target'"),
    (("target=1", "++condition.target=2"), "unknown key 'condition.target'"),
    (
        ("target=1", "+condition.foo=1"),
        "cannot build 'ppgn.conditions.classifier.Classifier.from_torchscript': ",
    ),
    (("target=1", "condition.size=[16,16]"), "cannot use 'condition.size=[16,16]'; condition.size is a whole number"),
    (
        ("target=1", "condition.mean=[a,b,c]"),
        "cannot use 'condition.mean=[a,b,c]'; condition.mean is a list of numbers",
    ),
    (("target=1", "model=nature64"), "unknown model 'nature64'"),
    (("target=1", "model=./nothing.safetensors"), "no checkpoint file 'nothing.safetensors'"),
    (("target=1", "model=./words.txt"), "'words.txt' is not a safetensors file"),
    (("target=1", "condition.path=words.txt"), "network 'words.txt': not a TorchScript file"),
    (("target=1", "condition.path=???"), "'ppgn.conditions.classifier.Classifier.from_torchscript' needs path"),
    (("target=1", "seeds=0..7"), "cannot read seeds '0..7'; expected 0-15, [1,4,9], 3 or 0-3,8,10-12"),
    (("target=1", "seeds=7-0"), "cannot read seeds '7-0'"),
    (("target=1", "seeds=0-3,2"), "seed 2 is given twice in seeds=0-3,2; give every seed once"),
    (("target=1", "init=phto.png"), "no image file 'phto.png'"),
    (("target=1", "init=words.txt"), "'words.txt' is not an image; expected a PNG, JPEG"),
    (("target=1", "out=words.txt"), "cannot write into 'words.txt': 'words.txt' is a file"),
    (("target=1", "out=~nobodyatall/x"), "cannot use 'out=~nobodyatall/x': there is no user"),
    (("target=1", "out=" + "a" * 300), "cannot use 'aaaa"),
    (("target=1", "seeds=" + "9" * 5000), "cannot read 'seeds=9999"),
    (("target=1", "condition.size={_target_:os.getcwd}"), "size of 'ppgn.conditions"),
    (("target=1", "out=words.txt/deeper"), "cannot write into 'words.txt/deeper': "),
    (("target=1", "steps=many"), "cannot use 'steps=many'; steps is a whole number"),
    (("target=1", "steps=0"), "steps=0 cannot be used; expected a whole number from 1 on"),
    (("target=1", "batch_size=1.5"), "cannot use 'batch_size=1.5'; batch_size is a whole number"),
    (("target=1", "burn_in=6"), "burn_in is 6; expected 0 or more and less than steps=6"),
    (("target=1", "thin=7"), "thin is 7; expected 1 to 6"),
    (("target=1", "resume=maybe"), "cannot use 'resume=maybe'; resume is true or false"),
    (("target=1", "device=gpu"), "unknown device 'gpu'"),
    (("target=1", "precision=flaot32"), "unknown precision 'flaot32'; nearest: float32"),
    (("target=1", "sampler.epsilon1=much"), "cannot use 'sampler.epsilon1=much'; sampler.epsilon1 is a number"),
    (("target=1", "sampler=ppgn", "sampler.lr=nan"), "lr is nan; expected a finite number"),
    (("target=1", "sampler=ppgn", "sampler.lr_end=inf"), "lr_end is inf; expected a finite number"),
    (("target=1", "sampler=ppgn", "sampler.epsilon3=inf"), "epsilon3 is inf; expected a finite number"),
    (
        ("target=1", "sampler=ppgn", "sampler.clip=[low,high]"),
        "clip is ['low', 'high']; expected [low, high]",
    ),
    (("target=1", "sampler.steps=0", "steps=null"), "steps is 0; expected 1 or more"),
    (("target=1", "sampler.zoom=0.5"), "jitter is views=1, shift=0.05, zoom=0.5; expected"),
    (("target=1", "+sampler._partial_=true"), "unknown key 'sampler._partial_'"),
    (("target=1", "sampler.sigma_max=1e308"), "sigma_max is 1e+308; expected"),
    (("target=1", "sampler={a:1}"), "unknown key 'sampler.a'"),
    (("target=1", "prior={a:1}"), "prior={'a': 1} names nothing"),
    (("target=1", "model=[a]"), "cannot use 'model=[a]'; model is a text"),
    (("target=1", "init={a:1}"), "cannot use 'init={a:1}'; init is a text"),
    (("target=1", "precision=[a]"), "cannot use 'precision=[a]'; precision is a text"),
    (("target=1", "animate=3"), "cannot animate '3'; give a name that ends in"),
    (
        ("target=1", "steps=99999999999"),
        "steps=99999999999 cannot be used; expected a whole number from 1 on and below",
    ),
    (("target=1", "target.a=1"), "unknown key 'target.a'"),
    (("target=1", "out.a=1"), "unknown key 'out.a'"),
    (("target=" + "[" * 1200 + "1" + "]" * 1200,), "class '[[["),
    (("condition=" + "(" * 1200 + "torchscript:1" + ")" * 1200,), "condition=((((((((((((((((((((... is nested too"),
    (("target=1", "condition.labels=3"), "class names '3': no such file"),
    (("target=1", "condition.labels=[[a]]"), "class names [['a']]: expected a list of names"),
    (("target=1", "init=fifo.png"), "'fifo.png' is no regular file"),
    (("target=1", "init=grey32.tif"), "'grey32.tif' has 32 bits a channel"),
    (("target=1", "init=large.png"), "'large.png' has 9000x9000 pixels; at most 64 megapixels"),
    (("target=1", "out=a\udcff"), "cannot read 'out=a\\udcff': it is not UTF-8"),
    (("target=1", "target=${nothing}"), "class '${nothing}': this network has no class names"),
]


@pytest.mark.parametrize(
    ("words", "message"), BAD, ids=[" ".join(words)[:60].encode("ascii", "replace").decode() for words, _ in BAD]
)
def test_is_one_line_and_status_2(
    sample: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("words.txt").write_text("words")
    os.mkfifo("fifo.png")
    Image.new("I", (4, 4), 9).save("grey32.tif")
    if "init=large.png" in words:
        Image.new("1", (9000, 9000)).save("large.png")
    given = set(Path().iterdir())
    assert sample(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ppgn: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert set(Path().iterdir()) == given


def test_an_unknown_class_or_network_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["condition=imagenet", "condition.network.name=efficientnet_lite0", "condition.network.size=32"]
    assert main(["sample", "target=goldfsh", *words]) == 2
    assert capsys.readouterr().err.startswith("ppgn: unknown class 'goldfsh'; nearest: goldfish, ")
    assert main(["sample", "target=1", "condition.network.name=efficientnet_lite9"]) == 2
    assert capsys.readouterr().err.startswith("ppgn: unknown network 'efficientnet_lite9'; nearest: efficientnet_lite")


def test_no_gpu_is_said_plainly(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert sample("target=1", "device=cuda") == 2
    assert "no GPU is visible here; use device=cpu" in capsys.readouterr().err


def test_no_compiler_is_said_plainly(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert sample("target=1", "compile=true") == 2
    said = "compile=true needs a C++ compiler and there is no 'no-such-compiler'; leave compile at false"
    assert capsys.readouterr().err == f"ppgn: {said}\n"
    assert not list(Path().iterdir())


def test_too_little_memory_for_one_chain_is_said(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ppgn.samplers.annealed.Annealed.step", step)
    assert sample("target=1") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ppgn: cpu has too little memory for 2 chains at a time; going on with 1"
    assert lines[-1].startswith("ppgn: cpu has too little memory for one chain; use another device")


def test_debug_shows_the_traceback(sample: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGN_DEBUG", "1")
    with pytest.raises(InputError, match="class index 5 is out of range"):
        sample("target=5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("smaple",), "unknown command 'smaple'; nearest: sample, completion; see ppgn --help"),
        (("models", "more"), "ppgn models takes no further words, but got 'more'"),
        (("sample",), "nothing to draw: add target=NAME, for example target=goldfish"),
        (
            ("sample", "condition=imagenet & places:beach"),
            "nothing to draw: add target=NAME, for example target=goldfish",
        ),
        (
            ("sample", "condition=imagenet:1", "target=1"),
            "target=1 is not asked for: 'imagenet:1' says all that is to be drawn; leave it out",
        ),
    ],
)
def test_bad_commands(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"ppgn: {message}\n"
