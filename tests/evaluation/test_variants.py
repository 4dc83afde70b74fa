"""The samplers of the PPGN family, each as its experiment sets it, and what is said of what is not trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn import evaluation
from ppgn.building import build
from ppgn.conditions import words
from ppgn.errors import InputError
from ppgn.evaluation.variants import VARIANTS, recipe
from ppgn.metrics import diversity, fidelity
from ppgn.model import PPGN, load
from ppgn.priors.dae import DAE, ImageDAE
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.published import DGNAM
from tests.evaluation.conftest import Settings, read

GIVEN: dict[str, Any] = {"classes": [2, 0], "data": "photos", "seeds": "0-1", "n": 8}
GIVEN |= {"steps": 2, "batch_size": 2, "device": "cpu"}


@pytest.fixture
def trained(model: PPGN, photos: np.ndarray) -> PPGN:
    """The model with a DAE over its codes, in trained.safetensors; in pixels.safetensors is one without a generator."""
    torch.manual_seed(0)
    settings = {"_target_": "ppgn.priors.dae.DAE", "widths": [8], "sigma": 0.5, "code_shape": [8]}
    trained = model.with_prior("dae", DAE([8], [8], 0.5), settings)
    trained.save("trained.safetensors")
    generator = {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, 16, 16]}
    settings = {"_target_": "ppgn.priors.dae.ImageDAE", "widths": [4, 4], "sigma": 0.1, "code_shape": [3, 16, 16]}
    pixels = PPGN.from_config({"generator": generator})
    pixels.with_prior("image_dae", ImageDAE([3, 16, 16], [4, 4], 0.1), settings).save("pixels.safetensors")
    return load("trained.safetensors")


def test_every_variant_is_measured_or_skipped(trained: PPGN, classifier: Settings) -> None:
    given = GIVEN | {"models": {"ppgn_x": "pixels.safetensors"}, "condition": classifier}
    table = evaluation.variants("trained.safetensors", out="out", **given)
    assert list(table.rows) == list(VARIANTS)
    assert "train generator" in table.facts["joint"]["skipped"]
    assert f"\njoint skipped: {table.facts['joint']['skipped']}" in str(table)
    for name, row in read()["rows"].items():
        if name == "joint":
            continue
        assert row["top1"] is None  # four unnamed classes are not the judge's
        for key in ("kid", "frechet", "density", "coverage", "within", "mixing", "seconds"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"]
        assert (row["lag"], row["failed"]) == (2, 0)
        assert Image.open(f"out/grid_{name}.png").size == (2 * 18 + 2, 2 * 18 + 2)
    facts = {name: facts for name, facts in table.facts.items() if name != "joint"}
    assert {name: (fact["model"], fact["prior"], fact["sampler"]["_target_"]) for name, fact in facts.items()} == {
        "ppgn_x": ("pixels.safetensors", "image_dae", "Langevin"),
        "dgn_am": ("trained.safetensors", "gaussian", "Langevin"),
        "dgn_am_released": ("trained.safetensors", "gaussian", "DGNAM"),
        "ppgn_h": ("trained.safetensors", "dae", "Langevin"),
        "noiseless_joint": ("trained.safetensors", "joint", "Langevin"),
        "annealed": ("trained.safetensors", "gaussian", "Annealed"),
    }
    assert facts["dgn_am"]["sampler"]["epsilon1"] == 0


def test_the_figures_are_those_of_the_chains(trained: PPGN, photos: np.ndarray, classifier: Settings) -> None:
    table = evaluation.variants("trained.safetensors", condition=classifier, experiment=["ppgn_h"], out="out", **GIVEN)
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
    given = GIVEN | {"condition": classifier, "experiment": ["ppgn_h", "dgn_am"]}
    table = evaluation.variants(tiny / "model.safetensors", **given)
    assert "train prior prior=dae" in table.facts["ppgn_h"]["skipped"]
    assert table.facts["dgn_am"]["failed"] == 0


@pytest.mark.parametrize(
    ("name", "prior", "expected"),
    [
        ("ppgn_x", "image_dae", Langevin(epsilon1=1.0, epsilon2=0.02, epsilon3=0.07, clip=(0.0, 1.0))),
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


def test_the_command_line_gives_the_same(check_same: Callable[..., None], tiny: Path, classifier: Settings) -> None:
    typed = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "data=photos"]
    typed += ["classes=[2,0]", "seeds=0-1", "n=8", "steps=2", "experiment=[ppgn_h,dgn_am_released]"]
    given = {"classes": [2, 0], "data": "photos", "seeds": "0-1", "n": 8, "steps": 2, "condition": classifier}
    check_same(evaluation.variants, typed, experiment=["ppgn_h", "dgn_am_released"], **given)
