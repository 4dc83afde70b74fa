"""A judge that took no part in drawing: whom it speaks of, what it says, and how the run tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ppgn
from ppgn.conditions.base import Plain
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.priors.bank import Bank
from ppgn.second_opinion import SecondOpinion
from tests.tiny import TinyEncoder, TinyGenerator

LABELS = ["red", "green, lime", "blue", "cyan", "pink", "grey"]


class Colours(nn.Module):
    """Images -> logits of `LABELS`: the mean of each channel, three of no picture."""

    def __init__(self, labels: list[str] | None = LABELS, sign: float = 1.0) -> None:
        super().__init__()
        self.labels, self.sign = labels, sign

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.sign * 9 * x.mean((2, 3)), torch.tensor([[0.5, 0.4, 0.3]]).expand(len(x), 3)], dim=1)


def colours(target: Any, labels: list[str] | None = LABELS, name: str = "colours") -> Classifier:
    return Classifier(Network(Colours(), Preprocessing(4), name=name, labels=labels), target)


def opinion(*conditions: Any, judge: Any = None) -> SecondOpinion | None:
    return SecondOpinion.of(judge or Colours(), conditions, nn.Identity(), torch.device("cpu"))


PICTURES = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
PICTURES[0, 0], PICTURES[1, 1], PICTURES[2, 2] = 255, 255, 255  # red, green, blue


def ranks(condition: Any) -> list[int | None]:
    said = opinion(condition)
    assert said is not None
    return [row and row["rank"] for row in said(PICTURES, [0] * 3)]


def test_it_says_p_rank_and_the_best_of_each_picture() -> None:
    said = opinion(colours("red"), colours("lime"))
    assert said is not None
    red, green, blue = said(PICTURES, [0, 0, 1])
    assert red is not None
    assert green is not None
    assert blue is not None
    assert (red["rank"], green["rank"], blue["rank"]) == (1, 6, 6)  # a tie counts against it
    assert red["prob"] == pytest.approx(Colours()(PICTURES[:1] / 255).softmax(1)[0, 0].item(), rel=1e-4)
    assert [name for name, _ in green["top5"]][:2] == ["green", "cyan"]
    assert said(PICTURES[:0], []) == []


def test_of_both_the_worse_counts_and_of_either_the_better() -> None:
    red, green, blue = (colours(name) for name in ("red", "green", "blue"))
    assert ranks(red & green) == [6, 6, 6]
    assert ranks(red | green) == [1, 1, 6]
    assert ranks(colours("any:red,green")) == [1, 1, 6]
    assert ranks(0.5 * red & ~blue) == ranks(red)
    assert ranks(red & Plain(Colours())) == ranks(red)
    said = opinion(red | Plain(Colours()))
    assert said is not None
    assert said(PICTURES, [0] * 3) == [None] * 3


def test_classes_of_other_labels_are_known_by_name() -> None:
    assert ranks(colours(2, ["a", "b", "LIME", "d", "e", "f"])) == [6, 1, 6]
    for labels in (["a", "b", "c", "d", "e", "f"], ["0", "1", "2", "3", "4", "5"], None):
        assert opinion(colours(2, labels)) is None
    assert opinion(Plain(Colours())) is None
    assert SecondOpinion.of(None, [colours(0)], nn.Identity(), torch.device("cpu")) is None
    assert SecondOpinion.of("none", [colours(0)], nn.Identity(), torch.device("cpu")) is None


def test_a_judge_that_draws_gives_way_to_another() -> None:
    own = [colours("goldfish", ["goldfish", "b", "c", "d", "e", "f"], name=f"efficientnet_lite{k}") for k in (2, 1, 0)]
    other = SecondOpinion.of("efficientnet_lite2", own[:1], nn.Identity(), torch.device("cpu"))
    assert other is not None
    assert (other.name, other.replaced) == ("efficientnet_lite1", "efficientnet_lite2")
    assert SecondOpinion.of("efficientnet_lite2", own, nn.Identity(), torch.device("cpu")) is None


def test_an_unknown_judge_is_told() -> None:
    with pytest.raises(InputError, match="efficientnet_lite2"):
        opinion(colours("red"), judge="efficientnet_light2")


def words(**more: Any) -> dict[str, Any]:
    net = PPGN(TinyGenerator(dtype=torch.float32), TinyEncoder(dtype=torch.float32))
    return {"condition": colours("red"), "model": net, "steps": 3, "judge": Colours(sign=-1.0)} | more


def test_a_run_tells_where_the_two_disagree_and_draws_the_same(tmp_path: Path) -> None:
    run = ppgn.sample(**words(), seeds=range(3), out=tmp_path / "o")
    alone = ppgn.sample(**words(judge=None), seeds=range(3))
    assert torch.equal(run.codes, alone.codes)
    assert alone.verdict is None
    said = run.verdict
    assert said is not None
    assert said["judged"] == 3
    assert said["recognised"] == sum(row["judge"]["rank"] <= 5 for row in run.rows)
    assert said["mean_prob"] == pytest.approx(sum(row["judge"]["prob"] for row in run.rows) / 3)
    assert said["sure"] == sum(row["prob"] > 0.5 for row in run.rows)
    assert f"{said['recognised']} of 3 recognised by the judge Colours" in run.summary()
    assert (said["words"] in run.summary()) == (said["sure"] != said["recognised"])
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["judge"]["top5"] == said["recognised"] / 3
    assert [row["judge"]["rank"] for row in report["samples"]] == [row["judge"]["rank"] for row in run.rows]
    assert json.loads(json.dumps(alone.report()))["judge"] is None


def test_a_run_that_goes_on_asks_the_judge_about_what_was_not_judged(tmp_path: Path) -> None:
    for seeds, judge in (("0", None), ("0-1", Colours()), ("0-2", Colours())):
        run = ppgn.sample(**words(judge=judge), seeds=seeds, out=tmp_path / "o", resume=True)
    verdict = run.verdict
    assert verdict is not None
    assert verdict["judged"] == 3
    whole = ppgn.sample(**words(judge=Colours()), seeds="0-2")
    assert json.loads(json.dumps(run.rows)) == json.loads(json.dumps(whole.rows))


def test_shares_are_judged_where_they_are_drawn(tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        ppgn.sample(**words(), seeds="0-3", out=tmp_path / "o", shard=shard)
    joined = ppgn.sample(**words(), seeds="0-3", out=tmp_path / "o", resume=True)
    assert joined.verdict is not None
    assert joined.verdict["judged"] == 4
    assert joined.opinion is not None
    assert joined.opinion.seconds < 0.05  # nothing was left to ask


def test_the_grid_shows_the_best_and_says_of_how_many(tmp_path: Path) -> None:
    judge = Colours()
    run = ppgn.sample(**words(judge=judge), seeds=range(7), out=tmp_path / "o", best=2, batch_size=2, scale=1)
    p = [row["judge"]["log_prob"] for row in run.rows]
    best = sorted(range(7), key=lambda seed: -p[seed])
    assert run.order() == best
    assert len(run) == 7
    assert "best 2 of 7 drawn, ranked by the judge" in run.summary()
    assert run.report()["best"] == {"seeds": best[:2], "drawn": 7, "rank": "judge"}
    assert run.grid().tobytes() == images.grid(run.images[best[:2]]).tobytes()
    again = ppgn.sample(**words(judge=judge), seeds=range(7), out=tmp_path / "o", best=3, resume=True)
    assert again.report()["best"]["seeds"] == best[:3]


def test_the_best_may_be_the_most_real() -> None:
    given = words(judge=None)
    net = given["model"]
    bank = Bank((5,), 40, 0.5)
    bank.fit(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(InputError, match="rank=judge"):
        ppgn.sample(**given, seeds=range(3), best=1, rank="realism")
    given["model"] = net = net.with_prior("bank", bank, {})
    run = ppgn.sample(**given, prior="joint", sampler="ppgn", seeds=range(4), best=1, rank="realism")
    measure = fidelity.realism(bank.codes(torch.arange(40)))
    real = measure(net.encode(run.images.float() / 255))
    assert [row["realism"] for row in run.rows] == pytest.approx(real.tolist(), rel=1e-4)
    assert run.order()[0] == int(real.argmax())
    assert "ranked by realism" in run.summary()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"best": 9}, "9 of 3 seeds"),
        ({"best": 0}, "whole number"),
        ({"rank": "beauty"}, "realism"),
        ({"best": 1, "judge": None}, "rank=realism"),
    ],
)
def test_a_choice_that_cannot_be_made_is_told(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ppgn.sample(**words(**more), seeds=range(3))
