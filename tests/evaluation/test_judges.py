"""Figures are those of each picture's own condition, and sum up over conditions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions import words
from ppgn.conditions.classifier import Classifier
from ppgn.evaluation.judges import Panel, classes_of, own, recognition
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import Table
from ppgn.metrics import accuracy, diversity, fidelity
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
    p = Panel([Grey(0.0), Grey(0.2)], lambda *_: {}).figures(drawn, ["p"], {})["p"]
    assert p is not None
    assert p.value == pytest.approx((1 + 2 * math.exp(-0.04)) / 3)


def test_rows_sum_up_pictures_over_conditions() -> None:
    drawn = Drawn(grey(0, 51, 102), torch.tensor([0, 0, 1]), (0, 1, 2), torch.ones(3))
    table = Table({})
    Panel([Grey(0.0), Grey(0.2)], told).add(table, "one", drawn, asked=["a", "b"], more=7)
    log_prob, rank = table.rows["one"]["log_prob"], table.rows["one"]["rank"]
    assert log_prob is not None
    assert rank is not None
    assert (log_prob.value, log_prob.low) == pytest.approx((-0.08 / 3, -0.04))
    assert (rank.value, rank.low, rank.high) == (3, 1, 8)  # of the first condition alone, the lower one
    assert (table.facts["one"]["more"], table.facts["one"]["failed"]) == (7, 0)
    last = table.facts["one"]["pictures"][2]
    assert (last["target"], last["seed"], last["rank"]) == ("b", 2, 8)
    assert "grid_one" in table.grids


def test_conditions_without_pictures_do_not_count() -> None:
    table = Table({})
    panel = Panel([Grey(0), Grey(0), Grey(0)], lambda p, t: {"x": t.double()})
    panel.add(table, "one", Drawn(grey(0, 0, 0, 0), torch.tensor([0, 0, 2, 2])), ["x", "y"])
    assert table.facts["one"] == table.grids == {}  # photographs, not drawn
    x = table.rows["one"]["x"]
    assert x is not None
    assert (x.value, x.low, x.high) == (1, 0, 2)
    assert table.rows["one"]["y"] is None


def test_likeness_and_diversity_are_those_of_the_features() -> None:
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (4, 3, 16, 16), generator=random, dtype=torch.uint8)
    real = torch.randint(256, (8, 3, 16, 16), generator=random, dtype=torch.uint8)
    features = fidelity.Features()
    names = ["kid", "frechet", "density", "coverage", "within", "between", "mixing"]
    panel = Panel([Grey(0), Grey(1)], lambda *_: {}, features, real)
    drawn = Drawn(pictures, torch.tensor([0, 0, 1, 1]), beside=pictures.flip(0))
    figures = panel.figures(drawn, names, {})
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
    alone = panel.figures(Drawn(pictures[:2], torch.tensor([0, 1])), ["within", "between"], {})
    assert alone["within"] is None
    assert alone["between"] is not None


def test_the_judge_speaks_of_its_own_classes() -> None:
    settings = {"network.name": "efficientnet_lite0", "network.size": 32}
    conditions = words.conditions("imagenet", ["goldfish", "pizza"], settings=settings)
    classifier = accuracy.Judge()
    pictures = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)
    index = [labels.find(labels.imagenet(), name) for name in ("goldfish", "goldfish", "pizza", "pizza")]
    assert classes_of(classifier, conditions) == index[::2]
    assert classes_of(classifier, [Grey(0)]) is None
    hits = accuracy.top_k(classifier(pictures), index, 5).double()
    assert torch.equal(recognition(classifier, index[::2])(pictures, torch.tensor([0, 0, 1, 1]))["top5"], hits)
    assert recognition(classifier, None)(pictures, torch.zeros(4)) == {}


class Dark(nn.Module):
    """Two classes, dark and light."""

    labels = ("dark", "light")

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3))
        return torch.stack([1 - light, light], dim=1)


def test_a_judge_of_ones_own_recognises_its_own_classes() -> None:
    condition = Classifier(Network(Dark(), Preprocessing(size=16), name="dark", labels=["dark", "light"]), "light")
    judge = accuracy.Judge(Dark())
    assert classes_of(judge, [condition]) == [1]
    found = recognition(judge, [1])(grey(0, 255), torch.zeros(2, dtype=torch.long))
    assert found["top1"].tolist() == [0, 1]
