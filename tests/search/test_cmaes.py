"""CMA-ES: what its settings do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ppgn.errors import InputError
from ppgn.priors.gaussian import Gaussian
from ppgn.search.cmaes import CMAES
from ppgn.search.contract import Space

pytest.importorskip("cmaes", reason="the extra search is not installed")


def space(size: int = 6, population: int = 16, sigma: float = 1.0) -> Space:
    return Space((size,), population, 0, sigma, Gaussian(), torch.device("cpu"))


def test_the_first_codes_have_the_deviation_of_the_space() -> None:
    codes = CMAES(step=2.0).begin(space(200, 40, sigma=1.5)).ask()
    assert codes.std() == pytest.approx(3.0, rel=0.05)
    assert abs(codes.mean()) < 0.2


def test_codes_lie_nearer_to_the_mean_than_it_moves() -> None:
    textbook, further = (CMAES(step=3.0 / rate, mean_rate=rate).begin(space(30)) for rate in (1.0, 3.0))
    assert torch.allclose(further.ask() * 3, textbook.ask(), atol=1e-5)
    fitness = torch.arange(16.0)
    textbook.tell(fitness)
    further.tell(fitness)
    mean = (3 * further.ask() - textbook.ask()) / 2  # where both are after the same codes won
    assert torch.allclose(mean, mean[:1].expand_as(mean), atol=1e-4)
    assert mean[0].norm() > 3


def test_the_defaults_come_nearer_to_a_peak_among_many_numbers_than_the_textbook() -> None:
    peak = torch.randn(200, generator=torch.Generator().manual_seed(1))

    def nearest(sampler: CMAES, seed: int) -> float:
        walk, best = sampler.begin(replace(space(200, 40), seed=seed)), float("inf")
        for _ in range(30):
            away = (walk.ask() - peak).square().mean(1).sqrt()
            best = min(best, float(away.min()))
            walk.tell(-away)
        return best

    for seed in range(3):
        assert nearest(CMAES(), seed) < 0.8 * nearest(CMAES(step=1.0, mean_rate=1.0), seed)


def test_no_code_is_longer_than_the_radius() -> None:
    walk = CMAES(radius=0.5, step=1.0).begin(space(100, sigma=2.0))
    for _ in range(60):
        codes = walk.ask()
        assert codes.norm(dim=1).max() <= 0.5 * 2.0 * 10 + 1e-4
        walk.tell(codes.sum(1))
    assert codes.sum(1).mean() > 60  # of at most 100, reached along the diagonal


def test_it_learns_unlike_scales() -> None:
    walk = CMAES().begin(space())
    scales = torch.tensor([30.0, 30, 30, 1, 1, 1])
    for _ in range(80):
        codes = walk.ask()
        walk.tell(-(codes * scales).square().sum(1))
    spread = walk.ask().std(0)
    assert spread[:3].max() < 0.3 * spread[3:].min()


@pytest.mark.parametrize("word", [{"step": 0.0}, {"radius": -1.0}, {"mean_rate": 0.5}])
def test_settings_that_cannot_be_are_refused(word: dict[str, float]) -> None:
    with pytest.raises(InputError, match="above 0"):
        CMAES(**word)  # type: ignore[arg-type]


def test_a_space_that_it_cannot_walk_in_is_refused() -> None:
    with pytest.raises(InputError, match="4 or more"):
        CMAES().begin(space(population=3))
