"""`experiment=NAME` and `ppgn evaluate what=variants`: what each is, and what is said of what is not trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ppgn
from ppgn.cli import config
from ppgn.cli.evaluation.request import VARIANTS, Request
from ppgn.cli.sample import build_conditions
from ppgn.metrics import diversity, fidelity
from ppgn.model import PPGN
from ppgn.priors.dae import DAE, ImageDAE
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.published import DGNAM
from ppgn.samplers.sampler import Sampler
from tests.cli.evaluating import evaluate_with, read

Run = Callable[..., int]
DAE_SETTINGS = {"_target_": "ppgn.priors.dae.DAE", "widths": [8], "sigma": 0.5, "code_shape": [8]}


@pytest.fixture
def variants(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ppgn evaluate what=variants` on tiny networks: in trained.safetensors is a DAE, in pixels.safetensors no G."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    pictures = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    np.save("photos/val_images.npy", pictures)
    torch.manual_seed(0)
    model = ppgn.load(tiny / "model.safetensors")
    model.with_prior("dae", DAE([8], [8], 0.5), DAE_SETTINGS).save("trained.safetensors")
    pixels = PPGN.from_config(
        {"generator": {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, 16, 16]}}
    )
    settings = {"_target_": "ppgn.priors.dae.ImageDAE", "widths": [4, 4], "sigma": 0.1, "code_shape": [3, 16, 16]}
    pixels.with_prior("image_dae", ImageDAE([3, 16, 16], [4, 4], 0.1), settings).save("pixels.safetensors")
    words = {"model": "trained.safetensors", "condition": "torchscript", "condition.size": "16", "n": "8"}
    words |= {"condition.path": f"{tiny}/classifier.ts", "data": "photos", "classes": "[2,0]", "seeds": "0-1"}
    words |= {"steps": "2", "batch_size": "2", "device": "cpu", "out": "out", "what": "variants"}

    return partial(evaluate_with, words)


def test_every_variant_is_measured_or_skipped(variants: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert variants("models.ppgn_x=pixels.safetensors") == 0
    said, table = read(), capsys.readouterr().out
    assert list(said["rows"]) == list(VARIANTS)
    recipe = "train it, python train/generator.py experiment=natural64_joint data.root=DATA"
    assert said["rows"]["joint"]["skipped"].startswith(f"model 'natural64_joint' does not come along; {recipe}")
    assert f"\njoint skipped: {said['rows']['joint']['skipped']}\n" in table
    for name, row in said["rows"].items():
        if name == "joint":
            continue
        assert row["top1"] is None  # four unnamed classes are not the judge's
        for key in ("kid", "frechet", "density", "coverage", "within", "mixing", "seconds"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"]
        assert (row["lag"], row["failed"]) == (2, 0)
        assert Image.open(f"out/grid_{name}.png").size == (2 * 18 + 2, 2 * 18 + 2)
    used = {
        name: (row["model"], row["prior"], row["sampler"]["name"])
        for name, row in said["rows"].items()
        if name != "joint"
    }
    assert used == {
        "ppgn_x": ("pixels.safetensors", "image_dae", "ppgn"),
        "dgn_am": ("trained.safetensors", "gaussian", "ppgn"),
        "dgn_am_released": ("trained.safetensors", "gaussian", "dgn_am"),
        "ppgn_h": ("trained.safetensors", "dae", "ppgn"),
        "noiseless_joint": ("trained.safetensors", "joint", "ppgn"),
        "annealed": ("trained.safetensors", "gaussian", "annealed"),
    }


def test_the_figures_are_those_of_the_chains(variants: Run, tiny: Path) -> None:
    assert variants("experiment=ppgn_h") == 0
    (row,) = read()["rows"].values()
    model = ppgn.load("trained.safetensors")
    request = Request.read(
        [
            "what=samples",
            "data=photos",
            "condition=torchscript",
            "condition.size=16",
            f"condition.path={tiny}/classifier.ts",
        ]
    )
    first, later = [], []
    for condition in build_conditions(request.config.condition, [2, 0], torch.device("cpu"), torch.float32):
        drawn = model.sample([condition, condition], [0, 1], sampler=Langevin(), prior="dae", steps=2, batch_size=2)
        assert drawn.steps == (2, 4, 2, 4)
        alone = model.sample(condition, [0, 1], sampler=Langevin(), prior="dae", steps=2, batch_size=2)
        assert torch.equal(drawn.images[::2], alone.images)
        first.append(drawn.images[::2])
        later.append(drawn.images[1::2])
    grid = torch.from_numpy(np.array(Image.open("out/grid_ppgn_h.png"))).permute(2, 0, 1)
    assert torch.equal(grid[:, 20:36, 20:36], first[1][1])

    features = fidelity.Features()
    of_first, of_later = features(torch.cat(first)), features(torch.cat(later))
    stored = torch.from_numpy(np.load("photos/val_images.npy")).permute(0, 3, 1, 2)
    real = features(stored[np.linspace(0, 19, 8).astype(int)])
    near = fidelity.DensityCoverage(real, of_first)
    expected = {
        "kid": fidelity.KID(of_first, real)().item(),
        "frechet": fidelity.frechet_distance(of_first, real),
        "density": near.density().item(),
        "coverage": near.coverage().item(),
        "within": diversity.within_class(of_first, [0, 0, 1, 1]).mean().item(),
        "mixing": diversity.paired(of_first, of_later).mean().item(),
    }
    assert {name: row[name]["value"] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert row["mixing"]["value"] > 0


def test_a_prior_that_the_model_lacks_is_skipped_with_its_recipe(variants: Run, tiny: Path) -> None:
    assert variants("experiment=[ppgn_h,dgn_am]", f"model={tiny}/model.safetensors") == 0
    rows = read()["rows"]
    assert "has no prior 'dae'; train it, python train/prior.py prior=dae model=" in rows["ppgn_h"]["skipped"]
    assert rows["ppgn_h"]["skipped"].endswith("and give model=runs/prior/model.safetensors")
    assert rows["dgn_am"]["failed"] == 0


BAD = [
    (("experiment=[ppgn_h,ppgn_h]",), "experiment=[ppgn_h,ppgn_h]: expected one name or more, each once"),
    (("experiment=[]",), "experiment=[]: expected one name or more, each once"),
    (("experiment=[ppgn_z]",), "unknown experiment 'ppgn_z'; nearest: ppgn_x"),
    (
        ("experiment=[natural64_cpu]",),
        "experiment=natural64_cpu cannot be used here; expected one of: annealed, dgn_am",
    ),
    (("sampler=ppgn",), "sampler= cannot be used with what=variants: each experiment has its own"),
    (("prior=joint",), "prior= cannot be used with what=variants: each experiment has its own"),
    (("models.ppgn_y=a",), "unknown key 'models.ppgn_y'; nearest: models.ppgn_x"),
    (("model=nature64",), "unknown model 'nature64'"),
    (("what=samples", "experiment=[ppgn_h,joint]"), "unknown experiment"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line(
    variants: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert variants(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ppgn: {message}")
    assert captured.err.count("\n") == 1
    assert not Path("out").exists()


def test_experiments_are_those_that_a_verb_can_take() -> None:
    sampling = sorted(VARIANTS)
    assert config.experiments("sample") == config.experiments("evaluate") == sampling
    training = {"natural64_cpu", "natural64_gpu", "natural64_joint", "deepsim"}
    assert training == set(config.experiments("train_generator"))


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        ("ppgn_x", Langevin(epsilon1=1.0, epsilon2=0.02, epsilon3=0.07, clip=(0.0, 1.0))),
        ("dgn_am", Langevin(epsilon1=0.0, epsilon3=0.0)),
        ("dgn_am_released", DGNAM()),
        ("ppgn_h", Langevin()),
        ("joint", Langevin()),
        ("noiseless_joint", Langevin()),
        ("annealed", Annealed()),
    ],
)
def test_what_each_experiment_is(experiment: str, expected: Sampler) -> None:
    settings, options = config.compose("sample", [f"experiment={experiment}", "target=1"])
    assert config.build(settings.sampler) == expected
    assert options["sampler"] == settings.sampler._target_.rpartition(".")[2]
    priors = {"ppgn_x": "image_dae", "ppgn_h": "dae", "joint": "joint", "noiseless_joint": "joint", "annealed": None}
    assert settings.prior == priors.get(experiment, "gaussian")
    assert settings.model == {"ppgn_x": "pixels", "joint": "natural64_joint"}.get(experiment, "natural64")


def test_words_come_after_the_experiment() -> None:
    words = ["experiment=ppgn_h", "target=1", "sampler=annealed", "model=other", "prior=joint"]
    settings, options = config.compose("sample", words)
    assert options == {"condition": "imagenet", "sampler": "annealed", "experiment": "ppgn_h"}
    assert settings.sampler.sigma_max == 10
    assert (settings.model, settings.prior) == ("other", "joint")
    settings, _ = config.compose("sample", ["experiment=dgn_am", "target=1", "sampler.epsilon2=0.5"])
    assert (settings.sampler.epsilon1, settings.sampler.epsilon2) == (0.0, 0.5)


def test_sample_takes_an_experiment(sample: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("experiment=noiseless_joint", "target=2", "out=preset") == 0
    assert sample("sampler=ppgn", "prior=joint", "target=2", "out=given") == 0
    preset, given = (json.loads(Path(f"{name}/report.json").read_text()) for name in ("preset", "given"))
    assert (preset["sampler"], preset["prior"]) == ("ppgn", "joint")
    assert preset["samples"] == given["samples"]
    assert np.array_equal(*(np.array(Image.open(f"{name}/grid.png")) for name in ("preset", "given")))
    capsys.readouterr()
    for words, message in [
        (["experiment=natural64_cpu"], "ppgn: experiment=natural64_cpu cannot be used here; expected one of: annealed"),
        (
            ["experiment=ppgn_h"],
            f"ppgn: model {tiny}/model.safetensors has no prior 'dae'; train it, python train/prior",
        ),
        (
            ["experiment=ppgn_x", "model=pixels"],
            "ppgn: model 'pixels' does not come along; train it, python train/prior",
        ),
    ]:
        assert sample(*words, "target=2") == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(message)
        assert captured.err.count("\n") == 1
