"""Parts that were written outside the package stand wherever a name of ours may stand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ppgn
from ppgn.cli import main
from ppgn.conditions import words
from ppgn.contracts import DensityPrior, Encoder, Generator, Kernel, Prior
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.samplers.mala import Mala

HERE = Path(__file__).parent
CONFIG = {
    "generator": {"_target_": "mine:Generator", "spread": 0.5},
    "encoder": {"_target_": "mine.py:Encoder"},
    "priors": {"student": {"_target_": "mine:StudentT", "code_shape": [6], "nu": 3.0}},
}


@pytest.fixture(autouse=True)
def beside_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is the one of mine.py, which is nowhere else to be found."""
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not (Path(place) / "mine.py").exists()])
    monkeypatch.delitem(sys.modules, "mine", raising=False)


@pytest.fixture
def model() -> PPGN:
    torch.manual_seed(0)
    return PPGN.from_config(CONFIG, {"name": "mine"}).eval().requires_grad_(False)


@pytest.fixture
def path(model: PPGN, tmp_path: Path) -> Path:
    model.save(tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_they_fulfil_the_contracts(model: PPGN) -> None:
    mine = sys.modules["mine"]
    assert isinstance(model.generator, Generator)
    assert isinstance(model.encoder, Encoder)
    assert isinstance(model.priors["student"], Prior)
    assert isinstance(model.priors["student"], DensityPrior)
    kernel: Kernel = mine.Ascent()
    samples = model.sample(mine.Red(), range(3), sampler=kernel)
    assert set(samples.steps) == {100}  # of a kernel that does not say
    assert samples.images.shape == (3, 3, 16, 16)


def test_each_is_named_where_a_name_of_ours_stands(model: PPGN) -> None:
    condition = words.condition("200*mine.py:Red & 0.5*mine:Level:0.4")
    walk = {"sampler": "mine.py:Ascent", "prior": "mine:StudentT"}
    drawn, start = (model.sample(condition, range(3), steps=steps, **walk).log_prob for steps in (100, 1))
    assert drawn.mean() > start.mean() + 1
    settings = {"sampler": {"_target_": "mine:Ascent", "rate": 0.0}, "prior": model.priors["student"], "steps": 2}
    h = torch.randn(1, 6)
    assert torch.equal(model.sample(condition, [0], init=h, **settings).codes, h)
    walked = model.sample(condition, range(2), sampler=Mala(steps=20, warmup=5), prior="mine.py:StudentT")
    assert torch.isfinite(walked.codes).all()


def test_a_model_of_them_is_loaded_again_where_they_are_trusted(model: PPGN, path: Path) -> None:
    for trust in ((), ["somebody"], "min"):
        with pytest.raises(InputError, match=r"trust=\[mine"):
            ppgn.load(path, trust=trust)
    again = ppgn.load(path, trust=["mine"])
    h, x = torch.randn(2, 6), torch.rand(2, 3, 16, 16)
    assert torch.allclose(again.decode(h), model.decode(h), atol=1e-2)  # half precision
    assert torch.allclose(again.encode(x), model.encode(x), atol=1e-1)
    assert torch.equal(again.priors["student"].get_buffer("nu"), torch.tensor(3.0))
    again.save(path)
    assert ppgn.load(path, trust="mine").config == CONFIG


def test_a_generator_alone_is_a_model() -> None:
    drawn = ppgn.load("mine.py:Generator").sample(words.condition("mine:Red"), [0], steps=2)
    assert drawn.images.shape == (1, 3, 16, 16)
    with pytest.raises(InputError, match="no 'Nothing'"):
        ppgn.load("mine.py:Nothing")


def test_what_cannot_be_used_is_one_line(model: PPGN) -> None:
    mine = sys.modules["mine"]
    for arguments, word in (
        ({"condition": words.condition(mine.darkness)}, "log p"),  # a score is not sampled
        ({"condition": mine.Red(), "prior": "mine:Red"}, "residual"),
        ({"condition": mine.Red(), "prior": mine.StudentT([5])}, "reads codes"),
        ({"condition": mine.Red(), "prior": "mine:Student"}, "Student"),
        ({"condition": mine.Red(), "sampler": "mine:Red"}, "init"),
    ):
        with pytest.raises(InputError, match=word) as caught:
            model.sample(seeds=[0], steps=1, **arguments)
        assert "\n" not in str(caught.value)


def test_sample_takes_them(path: Path, tmp_path: Path) -> None:
    sampling = pytest.importorskip("ppgn.sampling")
    run = sampling.sample(condition="mine.py:Red", model=str(path), sampler="mine:Ascent", prior="student",
                          seeds="0-2", steps=5, trust=["mine"])  # fmt: skip
    model = ppgn.load(path, trust=["mine"])
    red = words.condition("mine:Red")
    assert torch.equal(run.codes, model.sample(red, range(3), sampler="mine:Ascent", prior="student", steps=5).codes)
    given = [f"model={path}", "condition=mine.py:Red", "sampler=mine:Ascent", "prior=student", "seeds=0-2", "steps=5"]
    assert main(["sample", *given, f"out={tmp_path}/o", "device=cpu"]) == 2  # not trusted
    assert main(["sample", *given, f"out={tmp_path}/o", "device=cpu", "trust=[mine]"]) == 0
    assert torch.equal(load_file(tmp_path / "o" / "samples.safetensors")["codes"], run.codes)


def test_inpaint_takes_them(path: Path) -> None:
    inpaint = getattr(importlib.import_module("ppgn.inpainting"), "inpaint", None)
    if inpaint is None:
        pytest.skip("no ppgn.inpaint yet")
    photo = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    done = inpaint(photo, model=str(path), condition="mine.py:Red", sampler="mine:Ascent", prior="mine:StudentT",
                   seeds="0-1", steps=2, trust=["mine"])  # fmt: skip
    assert len(done.scores) == 2


def test_evaluate_takes_them(model: PPGN, tmp_path: Path) -> None:
    evaluation = pytest.importorskip("ppgn.evaluation")
    photographs = np.random.default_rng(0).integers(256, size=(6, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "val_images.npy", photographs)
    settings = {"condition": "mine.py:Level", "sampler": "mine:Ascent", "prior": "mine:StudentT", "judge": "mine:Judge"}
    table = evaluation.samples(model, ["0.2", "0.8"], tmp_path, n=6, seeds="0-1", steps=3, device="cpu",
                               systems=["default", "white_noise"], **settings)  # fmt: skip
    assert [row for row in table.rows] == ["default", "white_noise"]
