"""Chains around anchors, on a target whose anchors and chances are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Samples
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.bank import Near
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import run_chains, sample
from ppgn.samplers.noise import Noise
from tests.tiny import TinyCondition, TinyGenerator

CODES = 3 * torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CHANCES = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0])


@dataclass(frozen=True)
class Known(Posterior):
    """A target with six anchors."""

    log_p: Tensor = field(default_factory=CHANCES.log)

    def anchors(self) -> tuple[Tensor, Tensor]:
        return CODES[: len(self.log_p)], self.log_p

    def near(self, anchor: Tensor, spread: float) -> Posterior:  # type: ignore[override]
        return Posterior(self.generator, Near(anchor, spread), self.condition)


def target(index: int = 0, log_p: Tensor | None = None) -> Known:
    return Known(TinyGenerator(), Gaussian(), TinyCondition(index), log_p=CHANCES.log() if log_p is None else log_p)


def drawn(kernel: Anchored, seeds: range, of: Known | None = None) -> Tensor:
    """Which anchor each seed starts at."""
    start = kernel.start(of or target(), Noise(seeds, dtype=torch.float64))
    return torch.cdist(start, CODES).argmin(dim=1)


def test_anchors_come_as_often_as_their_chances_say() -> None:
    often = torch.bincount(drawn(Anchored(variety=1.0), range(4000)), minlength=6) / 4000
    torch.testing.assert_close(often, CHANCES, rtol=0, atol=2e-3)


def test_chances_are_evened_out_until_there_is_variety() -> None:
    for log_p, wanted in ((CHANCES[:5].log(), 4.0), (torch.tensor([-3.0, -60, -70, -90, -80]), 2.0)):
        often = torch.bincount(drawn(Anchored(variety=wanted), range(4000), target(log_p=log_p)), minlength=5) / 4000
        assert wanted - 0.1 < 1 / often.square().sum() < 1.2 * wanted
        assert torch.equal(often.argsort(descending=True), log_p.argsort(descending=True)) or wanted == 4


def test_seeds_in_a_row_seldom_share_an_anchor() -> None:
    alike = target(log_p=torch.zeros(6))
    for first in (0, 100, 12345678901234567890):
        assert len(set(drawn(Anchored(), range(first, first + 6), alike).tolist())) >= 5


def run(seeds: list[int], **options: object) -> Samples:
    options = {"steps": 4, "dtype": torch.float64} | options
    return sample([target(0), target(1)], Anchored(), seeds, **options)  # type: ignore[arg-type]


def test_a_seed_is_the_same_alone_and_in_any_batch() -> None:
    together, alone = run([3, 1, 2]), run([1])
    rows = [row for row, seed in enumerate(together.seeds) if seed == 1]
    assert torch.equal(together.codes[rows], alone.codes)
    assert torch.equal(run([3, 1, 2], batch_size=2).codes, together.codes)


def test_chains_stay_near_their_anchor_and_move_on_with_the_target() -> None:
    kernel = Anchored(epsilon2=0.0, spread=0.01, variety=1.0)
    chances = [torch.tensor([0.0] + [-90.0] * 5).roll(k) for k in (1, 4)]
    found = run_chains([target(0, chances[0]), target(1, chances[1])], kernel, Noise([5], dtype=torch.float64), steps=5)
    torch.testing.assert_close(found.codes, CODES[[1, 4]], rtol=0, atol=0.1)


def test_a_start_code_that_is_given_is_the_anchor() -> None:
    given = torch.full((1, 5), 2.0, dtype=torch.float64)
    kernel = Anchored(epsilon2=0.0, spread=0.01)
    found = run_chains([target()], kernel, Noise([5, 6], dtype=torch.float64), steps=5, init=given)
    torch.testing.assert_close(found.codes, given.expand(2, 5), rtol=0, atol=0.1)


def test_the_condition_pulls() -> None:
    start, seeds = (
        Anchored().start(target(), Noise(range(6), dtype=torch.float64)),
        Noise(range(6), dtype=torch.float64),
    )
    found = run_chains([target()], Anchored(epsilon2=2.0), seeds, steps=10)
    assert (found.log_prob - target().evaluate(start).log_condition).mean() > 0.2


def test_chains_go_on_where_they_stopped(tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = run([1, 2])
    for stop in (2, 5):
        path = tmp_path / f"{stop}.safetensors"
        run([1, 2], checkpoint=path, callback=lambda step, *_, stop=stop: step == stop)
        (saved,) = tmp_path.glob(f"{stop}-*")
        assert torch.equal(run([1, 2], checkpoint=path).codes, whole.codes), saved


def test_given_its_anchors_it_is_annealed_under_the_prior_near_them() -> None:
    anchor, seeds = CODES[:2], [1, 2]
    plain = Annealed(sigma_max=0.5, sigma_min=0.05, epsilon2=1.0, fade=True)
    here = run_chains([target()], Anchored(), Noise(seeds, dtype=torch.float64), steps=6, init=anchor)
    there = run_chains([target().near(anchor, 0.5)], plain, Noise(seeds, dtype=torch.float64), steps=6, init=anchor)
    assert torch.equal(here.codes, there.codes)


def test_a_target_without_anchors_is_refused() -> None:
    class Bare:
        code_shape = (5,)

    with pytest.raises(InputError, match="anchors"):
        run_chains([Bare()], Anchored(), Noise([1]), steps=2)  # type: ignore[list-item]


@pytest.mark.parametrize("settings", [{"spread": 0.0}, {"variety": 0.0}, {"spread": float("inf")}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Anchored(**settings)
