"""Figures are those of each picture's own condition, and sum up over conditions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions import words
from ppgn.conditions.classifier import Classifier
from ppgn.evaluation.judges import Panel, Recognition, compare, median, own
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import Table
from ppgn.metrics import accuracy, bootstrap, diversity, fidelity
from ppgn.networks import labels
from ppgn.networks.network import Network, Preprocessing
from tests.evaluation.conftest import Grey, grey


def told(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"rank": torch.tensor([3.0, 1, 8])}


def test_every_picture_is_asked_its_own_condition() -> None:
    drawn = Drawn(grey(0, 51, 102), torch.tensor([0, 0, 1]))
    found = own([Grey(0.0), Grey(0.2)], drawn)
    assert found["log_prob"].tolist() == pytest.approx([0, -0.04, -0.04])
    assert found["p"].tolist() == pytest.approx([1, math.exp(-0.04), math.exp(-0.04)])
    panel = Panel([Grey(0.0), Grey(0.2)], lambda *_: {})
    p = panel.figures(drawn, ["p"])["p"]
    assert p is not None
    assert p.value == pytest.approx((1 + 2 * math.exp(-0.04)) / 3)


def test_figures_sum_up_pictures_over_conditions() -> None:
    drawn = Drawn(grey(0, 51, 102), torch.tensor([0, 0, 1]), (0, 1, 2), torch.ones(3))
    table = compare(
        Table.begin({}),
        Panel([Grey(0.0), Grey(0.2)], told),
        {"one": lambda: drawn},
        ["a", "b"],
        more=7,
    )
    log_prob, rank = table["one"]["log_prob"], table["one"]["rank"]
    assert log_prob is not None
    assert rank is not None
    assert (log_prob.value, log_prob.low) == pytest.approx((-0.08 / 3, -0.04))
    assert (rank.value, rank.low, rank.high) == (3, 1, 8)  # of the first condition alone, the lower one
    assert table.facts["one"]["more"] == 7
    last = table.facts["one"]["pictures"][2]
    assert (last["target"], last["seed"], last["rank"]) == ("b", 2, 8)
    assert "grid_one" in table.grids


def test_conditions_without_pictures_do_not_count() -> None:
    panel = Panel([Grey(0), Grey(0), Grey(0)], lambda p, t: {"x": t.double()})
    found = panel.figures(Drawn(grey(0, 0, 0, 0), torch.tensor([0, 0, 2, 2])), ["x", "y"])
    assert found["x"] is not None
    assert (found["x"].value, found["x"].low, found["x"].high) == (1, 0, 2)
    assert found["y"] is None


def test_median_is_the_lower_of_two_in_the_middle() -> None:
    none = torch.empty(0, 4)
    assert median(torch.tensor([7.0, 1, 5, 3]), none).value == 3
    assert median(torch.tensor([9.0, 1, 5]), none[:, :3]).value == 5
    weights = bootstrap.draws(40)
    values = torch.arange(40.0)
    expected = [float(torch.repeat_interleave(values, row.long()).sort().values[19]) for row in weights]
    found = median(values, weights)
    assert (found.low, found.high) == tuple(np.quantile(expected, [0.025, 0.975]))


def test_likeness_and_diversity_are_those_of_the_features() -> None:
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (4, 3, 16, 16), generator=random, dtype=torch.uint8)
    real = torch.randint(256, (8, 3, 16, 16), generator=random, dtype=torch.uint8)
    features = fidelity.Features()
    names = ["kid", "frechet", "density", "coverage", "within", "between", "mixing"]
    panel = Panel([Grey(0), Grey(1)], lambda *_: {}, features, real)
    drawn = Drawn(pictures, torch.tensor([0, 0, 1, 1]), beside=pictures.flip(0))
    figures = panel.figures(drawn, names)
    ours, theirs = features(pictures), features(real)
    density, coverage = fidelity.density_coverage(theirs, ours)
    expected = {
        "kid": fidelity.kid(ours, theirs).value,
        "frechet": fidelity.frechet(ours, theirs).value,
        "density": density.value,
        "coverage": coverage.value,
        "within": diversity.within_class(ours, [0, 0, 1, 1]).mean().item(),
        "between": diversity.between_classes(ours, [0, 0, 1, 1]).mean().item(),
        "mixing": diversity.paired(ours, ours.flip(0)).mean().item(),
    }
    assert {name: figure.value for name, figure in figures.items() if figure} == pytest.approx(expected, rel=1e-4)
    alone = panel.figures(Drawn(pictures[:2], torch.tensor([0, 1])), ["within", "between"])
    assert alone["within"] is None
    assert alone["between"] is not None


def test_the_judge_speaks_of_its_own_classes() -> None:
    settings = {"network.name": "efficientnet_lite0", "network.size": 32}
    conditions = words.conditions("imagenet", ["goldfish", "pizza"], settings=settings)
    judge = Recognition.of(accuracy.Judge(), conditions)
    pictures = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)
    index = [labels.find(labels.imagenet(), name) for name in ("goldfish", "goldfish", "pizza", "pizza")]
    assert judge.imagenet == index[::2]
    hits = accuracy.top_k(accuracy.Judge()(pictures), index, 5).double()
    assert torch.equal(judge(pictures, torch.tensor([0, 0, 1, 1]))["top5"], hits)
    assert Recognition.of(judge.classifier, [Grey(0)])(pictures, torch.zeros(4)) == {}


class Dark(nn.Module):
    """Two classes, dark and light."""

    labels = ("dark", "light")

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3))
        return torch.stack([1 - light, light], dim=1)


def test_a_judge_of_ones_own_recognises_its_own_classes() -> None:
    condition = Classifier(Network(Dark(), Preprocessing(size=16), name="dark", labels=["dark", "light"]), "light")
    found = Recognition.of(accuracy.Judge(Dark()), [condition])
    assert found(grey(0, 255), torch.zeros(2, dtype=torch.long))["top1"].tolist() == [0, 1]
    assert found.imagenet == []
