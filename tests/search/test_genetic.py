"""The genetic algorithm: who stays, whose numbers children have, how they mutate."""

from __future__ import annotations

import pytest
import torch

from ppgn.errors import InputError
from ppgn.priors.gaussian import Gaussian
from ppgn.search.contract import Space
from ppgn.search.genetic import Genetic

SPACE = Space((50,), 30, 0, 2.0, Gaussian(), torch.device("cpu"))


def test_the_best_stay_and_children_mix_two_parents() -> None:
    walk = Genetic(conserved=4, rate=0.0).begin(SPACE)
    codes = walk.ask()
    fitness = torch.arange(30.0)
    walk.tell(fitness)
    after = walk.ask()
    assert torch.equal(after[:4], codes[[29, 28, 27, 26]])
    shared = (after[4:, None] == codes[None]).float().mean(2)  # of each child with each parent
    two = shared.topk(2).values
    assert torch.allclose(two.sum(1), torch.ones(26))
    mixed = two[:, 0] < 1
    assert two[mixed, 0].mean() == pytest.approx(0.75, abs=0.07)


def test_a_share_of_the_numbers_mutates() -> None:
    walk = Genetic(conserved=0, rate=0.3, size=0.5, skew=1.0).begin(SPACE)
    codes = walk.ask()
    walk.tell(torch.arange(30.0))
    nearest = codes[torch.cdist(walk.ask(), codes).argmin(1)]
    change = walk.ask() - nearest
    assert (change != 0).float().mean() == pytest.approx(0.3, abs=0.05)
    assert change[change != 0].std() == pytest.approx(0.5 * 2.0, rel=0.15)


def test_those_that_failed_have_no_children() -> None:
    walk = Genetic(conserved=2, rate=0.0).begin(SPACE)
    codes, fitness = walk.ask(), torch.arange(30.0)
    fitness[15:] = torch.nan
    walk.tell(fitness)
    assert not (walk.ask()[:, None] == codes[None, 15:]).any()


@pytest.mark.parametrize("word", [{"rate": 1.5}, {"size": 0.0}, {"conserved": -1}, {"skew": 2.0}, {"temperature": 0.0}])
def test_settings_that_cannot_be_are_refused(word: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        Genetic(**word)  # type: ignore[arg-type]
