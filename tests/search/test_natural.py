"""Search with the prior: what is surveyed, how near to a photograph it stays, what is denoised."""

from __future__ import annotations

import pytest
import torch

from ppgn.errors import InputError
from ppgn.priors.bank import Bank
from ppgn.priors.gaussian import Gaussian
from ppgn.search.contract import Space
from ppgn.search.natural import Natural

pytest.importorskip("cmaes", reason="the extra search is not installed")
DIM = 20


@pytest.fixture
def bank() -> Bank:
    prior = Bank((DIM,), 400, 0.5)
    prior.fit(torch.randn(400, DIM, generator=torch.Generator().manual_seed(0)))
    return prior


def space(prior: object) -> Space:
    return Space((DIM,), 16, 0, 1.0, prior, torch.device("cpu"))  # type: ignore[arg-type]


def test_the_survey_shows_photographs_once_and_finds_good_ones(bank: Bank) -> None:
    every = bank.codes(torch.arange(400))
    want = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    walk, shown = Natural(survey=5).begin(space(bank)), []
    for _ in range(5):
        codes = walk.ask()
        distance, row = torch.cdist(codes, every).min(1)
        assert distance.max() < 0.01
        shown += row.tolist()
        walk.tell(codes @ want)
    assert len(set(shown)) == 80
    best = set((every @ want).topk(20).indices.tolist())
    assert len(best & set(shown)) >= 17


def test_then_codes_stay_near_the_best_photograph(bank: Bank) -> None:
    every, spread = bank.codes(torch.arange(400)), bank.codes(torch.arange(400)).std(0)
    want = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    walk = Natural(survey=2, radius=0.5).begin(space(bank))
    shown = []
    for _ in range(2):
        shown.append(walk.ask())
        walk.tell(shown[-1] @ want)
    anchor = max(torch.cat(shown), key=lambda code: float(code @ want))
    assert (torch.cdist(anchor[None], every) < 0.01).any()
    for _ in range(30):
        codes = walk.ask()
        away = ((codes - anchor) / spread).square().mean(1).sqrt()
        assert away.max() <= 0.5 + 1e-4
        walk.tell(codes @ want)
    assert away.median() > 0.4
    assert (codes @ want).mean() > anchor @ want + 1


def test_a_small_bank_is_surveyed_no_further_than_it_goes() -> None:
    prior = Bank((DIM,), 20, 0.5)
    prior.fit(torch.randn(20, DIM, generator=torch.Generator().manual_seed(0)))
    walk = Natural(survey=9).begin(space(prior))
    for _ in range(4):
        codes = walk.ask()
        walk.tell(codes.sum(1))
    assert (torch.cdist(codes, prior.codes(torch.arange(20))) > 1e-3).all()


def test_without_photographs_codes_are_denoised_and_no_longer_than_codes_are() -> None:
    walk = Natural(level=1.0).begin(space(Gaussian()))
    for _ in range(30):
        codes = walk.ask()
        walk.tell(codes.sum(1))
    assert codes.norm(dim=1).max() <= DIM**0.5 / 2 + 1e-4  # R(h, 1) = h / 2 for codes N(0, I)
    assert codes.sum(1).mean() > 5


@pytest.mark.parametrize("word", [{"survey": 0}, {"radius": 0.0}, {"step": float("inf")}, {"level": -1.0}])
def test_settings_that_cannot_be_are_refused(word: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        Natural(**word)  # type: ignore[arg-type]
