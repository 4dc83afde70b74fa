"""Every search sampler keeps the contract: shapes, repeatable asks, failures in part, and it climbs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn import building, paths
from ppgn.priors.bank import Bank
from ppgn.priors.gaussian import Gaussian
from ppgn.search.contract import SearchSampler, Space

DIM, POPULATION = 8, 12
PEAK = torch.tensor([1.0, -1.0, 0.5, 0.0, 1.5, -0.5, 0.0, 1.0])


def bank(count: int = 60) -> Bank:
    prior = Bank((DIM,), count, 0.5)
    prior.fit(torch.randn(count, DIM, generator=torch.Generator().manual_seed(5)))
    return prior


def space(prior: Any = None, seed: int = 3) -> Space:
    return Space((DIM,), POPULATION, seed, 1.0, prior or Gaussian(), torch.device("cpu"))


def score(codes: Tensor) -> Tensor:
    return -(codes - PEAK).square().sum(1)


def walk(sampler: Any, where: Space, generations: int, failing: bool = False) -> Tensor:
    """The codes asked, (generations, population, D)."""
    under_way, asked = sampler.begin(where), []
    for number in range(generations):
        codes = under_way.ask()
        assert codes.shape == (POPULATION, DIM)
        assert codes.dtype == torch.float32
        assert codes.isfinite().all()
        told = score(codes)
        if failing:
            told[number % 5 :: 3] = torch.nan
        under_way.tell(told)
        asked.append(codes)
    return torch.stack(asked)


CASES = [(name, prior) for name in paths.options("search") for prior in ("gaussian", "bank")]


def made(name: str) -> Any:
    if name in ("cmaes", "natural"):
        pytest.importorskip("cmaes", reason="the extra search is not installed")
    return building.part("search", name)


@pytest.mark.parametrize(("name", "prior"), CASES)
@pytest.mark.parametrize("failing", [False, True])
def test_asks_follow_from_the_space_and_from_what_was_told(name: str, prior: str, failing: bool) -> None:
    sampler = made(name)
    assert isinstance(sampler, SearchSampler)
    kind = bank() if prior == "bank" else None
    torch.manual_seed(1)
    first = walk(sampler, space(kind), 12, failing)
    torch.manual_seed(2)  # numbers that others draw are not in use
    assert torch.equal(walk(sampler, space(kind), 12, failing), first)
    assert not torch.equal(walk(sampler, space(kind, seed=4), 12, failing), first)


@pytest.mark.parametrize(("name", "prior"), [case for case in CASES if case[0] != "random"])
@pytest.mark.parametrize("failing", [False, True])
def test_later_generations_score_higher(name: str, prior: str, failing: bool) -> None:
    asked = walk(made(name), space(bank() if prior == "bank" else None), 25, failing)
    assert score(asked[-1]).median() > score(asked[0]).median() + 2
