"""Samples of classes by several systems and by the samplers of PPGN, and what is said of what is not trained."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ppgn
from ppgn import evaluation
from ppgn.building import build
from ppgn.cli import main
from ppgn.conditions import words
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.samples import VARIANTS, panel_of, recipe
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import Table
from ppgn.evaluation.task import Task
from ppgn.media import images
from ppgn.metrics import accuracy, diversity, fidelity
from ppgn.model import PPGN, load
from ppgn.photographs import Photographs
from ppgn.priors.dae import DAE
from ppgn.priors.unet import UNet
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.published import DGNAM
from tests.evaluation.conftest import Settings, read, store

TINY = {"network.name": "efficientnet_lite0", "network.size": 32}
GIVEN: dict[str, Any] = {"classes": [2, 0, 3], "data": "photos", "seeds": range(2), "n": 8}
GIVEN |= {"steps": 2, "batch_size": 2, "device": "cpu"}
VARIED: dict[str, Any] = {"classes": [2, 0], "data": "photos", "seeds": "0-1", "n": 8}
VARIED |= {"steps": 2, "batch_size": 2, "device": "cpu"}


def test_every_system_has_its_row_and_grid(model: PPGN, photos: np.ndarray, classifier: Settings) -> None:
    table = evaluation.samples(model, condition=classifier, out="out", **GIVEN)
    assert list(table.rows) == ["default", "white_noise", "dgn_am", "pixels"]
    for name, row in table.rows.items():
        assert row["top1"] is None  # four unnamed classes are not the judge's
        assert row["p"] is not None
        assert row["p"].low is not None
        assert row["p"].high is not None
        assert 0 < row["p"].low <= row["p"].value <= row["p"].high < 1
        assert table.facts[name]["failed"] == 0
        kernel = {"white_noise": None, "dgn_am": "Langevin", "pixels": "Langevin"}.get(name, "Annealed")
        assert (table.facts[name]["sampler"] or {}).get("_target_") == kernel
        assert Image.open(f"out/grid_{name}.png").size == (2 * 18 + 2, 3 * 18 + 2)

    def tile(name: str, row: int, column: int) -> torch.Tensor:
        grid = torch.from_numpy(np.array(Image.open(f"out/grid_{name}.png"))).permute(2, 0, 1)
        return grid[:, 2 + 18 * row : 18 + 18 * row, 2 + 18 * column : 18 + 18 * column]

    start = images.to_uint8(model.decode(Noise([0, 1]).normal("init 1", (8,))))
    assert torch.equal(tile("white_noise", 1, 1), start[1])
    asked = words.condition(classifier, 0)
    alone = model.sample(asked, [0, 1], sampler=Annealed(), steps=2, batch_size=2).images
    assert torch.equal(tile("default", 1, 0), alone[0])
    assert torch.equal(tile("default", 1, 1), alone[1])


def test_dgn_am_has_neither_prior_nor_noise(model: PPGN, photos: np.ndarray, classifier: Settings) -> None:
    def rows(sampler: Langevin) -> dict[str, Any]:
        settings = {"condition": classifier, "systems": ["default", "dgn_am"], "sampler": sampler}
        table = evaluation.samples(model, **GIVEN | settings)
        return {name: row["kid"] for name, row in table.rows.items()}

    bare = rows(Langevin(epsilon1=0.0, epsilon3=0.0))
    assert bare["default"] == bare["dgn_am"]
    noisy = rows(Langevin(epsilon3=0.5))
    assert noisy["dgn_am"] == bare["dgn_am"]
    assert noisy["default"] != bare["default"]


def test_photographs_of_the_classes_are_the_reference(photos: np.ndarray) -> None:
    """Two photographs of each class that are not among the four compared with; of class 9 there is one only."""
    told = [0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]  # the first, of class 1, is compared with
    store(Path("photos/set"), photos, labels=told, classes=[{"imagenet_index": k} for k in (1, 5, 9)] + [{}])
    asked = words.conditions("imagenet", [5, 9, 1], settings=TINY)

    def reference(count: int) -> tuple[Panel, Drawn | None]:
        return panel_of(Task(data="photos", n=4, seeds=range(count), device="cpu"), "efficientnet_lite2", asked, 16)

    assert Photographs.find("photos").rows(4) == [0, 6, 12, 19]
    panel, drawn = reference(2)
    assert drawn is not None
    expected = torch.from_numpy(photos).permute(0, 3, 1, 2)[[2, 9, 1, 5]]
    assert torch.equal(drawn.pictures, expected)
    assert drawn.targets.tolist() == [0, 0, 2, 2]
    table = Table({})
    panel.add(table, "photos", drawn, ["top5", "within"])
    hits = accuracy.top_k(accuracy.Judge()(expected), [5, 5, 1, 1], 5).double().mean().item()
    apart = diversity.within_class(fidelity.Features()(expected), [5, 5, 1, 1]).mean().item()
    found = {name: figure.value for name, figure in table.rows["photos"].items() if figure}
    assert found == pytest.approx({"top5": hits, "within": apart}, rel=1e-4)
    _, five = reference(5)
    assert five is not None
    assert five.targets.tolist() == [0] * 5  # of class 1 there are three
    assert reference(7)[1] is None


def test_a_finished_system_is_kept_when_the_next_is_interrupted(
    model: PPGN, photos: np.ndarray, classifier: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ppgn.samplers.annealed.Annealed.step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluation.samples(model, condition=classifier, systems=["white_noise", "default"], out="out", **GIVEN)
    assert '"white_noise": {' in Path("out/evaluation.json").read_text()


def test_the_command_line_gives_the_same(check_same: Callable[..., None], tiny: Path, classifier: Settings) -> None:
    typed = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16"]
    typed += ["data=photos", "classes=[2,0]", "seeds=0-1", "n=8", "steps=2", "sampler=ppgn", "sampler.epsilon2=0.2"]
    given = {"classes": [2, 0], "data": "photos", "seeds": "0-1", "n": 8, "steps": 2, "condition": classifier}
    check_same(evaluation.samples, typed, sampler=Langevin(epsilon2=0.2), **given)


def walked(tiny: Path, seeds: str) -> list[str]:
    """A run of the classifier of four classes in the folder `run` -> the words of its evaluation."""
    words = [f"model={tiny}/model.safetensors", "condition=torchscript", f"condition.path={tiny}/classifier.ts"]
    words += ["condition.size=16", "target=[2,0]", f"seeds={seeds}", "steps=2", "sampler=ppgn", "judge=none"]
    assert main(["sample", *words, "batch_size=4", "device=cpu", "out=run"]) == 0
    return ["what=samples", "stored=run", "data=photos", "n=8", "device=cpu", "out=out"]


def test_stored_samples_are_judged_as_they_are(tiny: Path, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgn.shards.MOST", 6)  # several files
    assert main(["evaluate", *walked(tiny, "0-6")]) == 0
    row, stored = read()["rows"]["stored"], ppgn.open_samples("run")
    assert len(stored.parts) > 1
    pictures, targets = stored[:].signals, torch.tensor(stored[:].targets)
    features = fidelity.Features()
    ours, real = (
        features(pictures),
        features(torch.from_numpy(photos).permute(0, 3, 1, 2)[np.linspace(0, 19, 8).astype(int)]),
    )
    density, coverage = fidelity.density_coverage(real, ours)
    expected = {
        "p": np.mean([said["prob"] for part in stored.parts for said in part.read()[1]]),
        "kid": fidelity.kid(ours, real).value,
        "frechet": fidelity.frechet(ours, real).value,
        "density": density.value,
        "coverage": coverage.value,
        "within": diversity.within_class(ours, targets.tolist()).mean().item(),
    }
    assert {name: row[name]["value"] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert row["kid"]["low"] < row["kid"]["value"] < row["kid"]["high"]
    assert row["top1"] is None  # four unnamed classes are not the judge's
    grid = torch.from_numpy(np.array(Image.open("out/grid_stored.png"))).permute(2, 0, 1)
    for number in (0, 1):  # a row a target
        assert torch.equal(grid[:, 2 + 18 * number : 18 + 18 * number, 2:18], pictures[targets == number][0])


def test_memory_does_not_grow_with_the_samples_stored(
    tiny: Path, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppgn.shards.MOST", 8)
    alive: list[int] = []
    gc.collect()
    others = {id(one) for one in gc.get_objects() if type(one) is torch.Tensor}  # of other tests

    def counted(self: fidelity.Features, pictures: torch.Tensor) -> torch.Tensor:
        tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor and id(one) not in others]
        tensors = [one for one in tensors if one.dim() == 4]
        alive.append(sum(len(one) for one in tensors if one.dtype == torch.uint8 and one.shape[1] == 3))
        return pictures.float().mean((2, 3))

    monkeypatch.setattr(fidelity.Features, "forward", counted)
    most = {}
    for seeds in ("0-15", "0-63"):
        words = walked(tiny, seeds)
        alive.clear()
        assert main(["evaluate", *words, "batch_size=4", "overwrite=true"]) == 0
        most[seeds] = max(alive)
        shutil.rmtree("run")
    assert len(alive) >= 2 * 64 / 4
    assert most["0-63"] == most["0-15"] <= 4 + 2 * 8 + 4  # two batches, those shown of two classes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stored=nowhere"], "'nowhere' holds no samples; give a folder that ppgn sample wrote"),
        (["condition=caption"], "stored: 'run' was drawn for torchscript: "),
        (["condition=unit", "condition.layer=nothing"], "give condition=NAME"),
    ],
)
def test_what_cannot_be_judged(
    words: list[str], message: str, tiny: Path, photos: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *walked(tiny, "0-1"), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


@pytest.fixture
def trained(model: PPGN, photos: np.ndarray) -> PPGN:
    """The model with a DAE over its codes, in trained.safetensors; in pixels.safetensors is one without a generator."""
    torch.manual_seed(0)
    settings = {"_target_": "ppgn.priors.dae.DAE", "widths": [8], "sigma": 0.5, "code_shape": [8]}
    trained = model.with_prior("dae", DAE([8], [8], 0.5), settings)
    trained.save("trained.safetensors")
    generator = {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, 16, 16]}
    settings = {"widths": [4, 4], "depth": 1, "sigmas": [0.1, 5.0], "sigma": 0.4, "code_shape": [3, 16, 16]}
    unet, settings["_target_"] = UNet(**settings), "ppgn.priors.unet.UNet"
    PPGN.from_config({"generator": generator}).with_prior("image_unet", unet, settings).save("pixels.safetensors")
    return load("trained.safetensors")


def test_every_variant_is_measured(trained: PPGN, classifier: Settings) -> None:
    models = {"ppgn_x": "pixels.safetensors", "joint": "trained.safetensors"}
    given = VARIED | {"models": models, "condition": classifier}
    table = evaluation.variants("trained.safetensors", out="out", **given)
    assert list(table.rows) == list(VARIANTS)
    for name, row in read()["rows"].items():
        assert row["top1"] is None  # four unnamed classes are not the judge's
        for key in ("kid", "frechet", "density", "coverage", "within", "mixing", "seconds"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"]
        assert (row["lag"], row["failed"]) == (2, 0)
        assert Image.open(f"out/grid_{name}.png").size == (2 * 18 + 2, 2 * 18 + 2)
    assert {n: (fact["model"], fact["prior"], fact["sampler"]["_target_"]) for n, fact in table.facts.items()} == {
        "ppgn_x": ("pixels.safetensors", "image_unet", "Annealed"),
        "dgn_am": ("trained.safetensors", "gaussian", "Langevin"),
        "dgn_am_released": ("trained.safetensors", "gaussian", "DGNAM"),
        "ppgn_h": ("trained.safetensors", "dae", "Langevin"),
        "joint": ("trained.safetensors", "joint", "Langevin"),
        "noiseless_joint": ("trained.safetensors", "joint", "Langevin"),
        "annealed": ("trained.safetensors", "gaussian", "Annealed"),
    }
    assert table.facts["dgn_am"]["sampler"]["epsilon1"] == 0


def test_the_figures_are_those_of_the_chains(trained: PPGN, photos: np.ndarray, classifier: Settings) -> None:
    table = evaluation.variants("trained.safetensors", condition=classifier, experiment=["ppgn_h"], out="out", **VARIED)
    first, later = [], []
    for condition in words.conditions(classifier, [2, 0]):
        drawn = trained.sample([condition, condition], [0, 1], sampler=Langevin(), prior="dae", steps=2, batch_size=2)
        first.append(drawn.images[::2])
        later.append(drawn.images[1::2])
    grid = torch.from_numpy(np.array(Image.open("out/grid_ppgn_h.png"))).permute(2, 0, 1)
    assert torch.equal(grid[:, 20:36, 20:36], first[1][1])

    features = fidelity.Features()
    of_first, of_later = features(torch.cat(first)), features(torch.cat(later))
    real = features(torch.from_numpy(photos).permute(0, 3, 1, 2)[np.linspace(0, 19, 8).astype(int)])
    expected = {
        "kid": fidelity.kid(of_first, real).value,
        "frechet": fidelity.frechet(of_first, real).value,
        "coverage": fidelity.density_coverage(real, of_first)[1].value,
        "within": diversity.within_class(of_first, [0, 0, 1, 1]).mean().item(),
        "mixing": diversity.paired(of_first, of_later).mean().item(),
    }
    found = {name: figure.value for name, figure in table.rows["ppgn_h"].items() if figure and name in expected}
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert found["mixing"] > 0


def test_a_prior_that_the_model_lacks_is_skipped_with_its_recipe(
    tiny: Path, trained: PPGN, classifier: Settings
) -> None:
    given = VARIED | {"condition": classifier, "experiment": ["ppgn_h", "dgn_am"]}
    table = evaluation.variants(tiny / "model.safetensors", **given)
    assert "train prior prior=dae" in table.facts["ppgn_h"]["skipped"]
    assert f"\nppgn_h skipped: {table.facts['ppgn_h']['skipped']}" in str(table)
    assert table.facts["dgn_am"]["failed"] == 0


@pytest.mark.parametrize(
    ("name", "prior", "expected"),
    [
        ("ppgn_x", "image_unet", Annealed(epsilon2=1.0, jacobian="exact", steps=80)),
        ("dgn_am", "gaussian", Langevin(epsilon1=0.0, epsilon3=0.0)),
        ("dgn_am_released", "gaussian", DGNAM()),
        ("ppgn_h", "dae", Langevin()),
        ("joint", "joint", Langevin()),
        ("noiseless_joint", "joint", Langevin()),
        ("annealed", None, Annealed()),
    ],
)
def test_what_each_experiment_is(name: str, prior: str | None, expected: object) -> None:
    found = recipe(name)
    assert build(found["sampler"]) == expected
    assert found.get("prior") == prior
    assert found.get("model") == {"ppgn_x": "pixels", "joint": "natural64_joint", "ppgn_h": None}.get(
        name, found.get("model")
    )


@pytest.mark.parametrize(("name", "word"), [("ppgn_z", "ppgn_x"), ("natural64_cpu", "dgn_am")])
def test_what_is_no_variant_is_refused(name: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        recipe(name)


def test_the_command_line_gives_the_same_variants(
    check_same: Callable[..., None], tiny: Path, classifier: Settings
) -> None:
    typed = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "data=photos"]
    typed += ["classes=[2,0]", "seeds=0-1", "n=8", "steps=2", "experiment=[ppgn_h,dgn_am_released]"]
    given = {"classes": [2, 0], "data": "photos", "seeds": "0-1", "n": 8, "steps": 2, "condition": classifier}
    check_same(evaluation.variants, typed, experiment=["ppgn_h", "dgn_am_released"], **given)
