"""What filling a hole changes of a sampler, told in one place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppgn.errors import InputError
from ppgn.inpainting.settings import UNASKED, Settings
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.published import Released


def sampler(given: Any, *, asked: bool = True, **more: Any) -> Any:
    return Settings.of(given, asked=asked, **more).sampler


def test_how_hard_a_chain_is_pulled_depends_on_whether_there_is_a_target() -> None:
    assert sampler("annealed").epsilon2 == 2.5
    assert sampler("annealed", asked=False).epsilon2 == UNASKED
    assert (sampler("anchored").spread, sampler("anchored").epsilon2) == (0.27, 1.0)
    assert sampler("anchored", asked=False).epsilon2 == UNASKED
    typed = {"_target_": "ppgn.samplers.annealed.Annealed", "epsilon2": 1.25}
    assert sampler(typed, asked=False).epsilon2 == 1.25
    assert sampler("ppgn", asked=False).epsilon2 == Langevin().epsilon2


def test_an_object_is_taken_as_it_is_and_steps_count_for_all() -> None:
    assert sampler(Annealed(steps=7, epsilon2=0.3)) == Annealed(steps=7, epsilon2=0.3)
    assert (sampler("annealed").steps, sampler("annealed", steps=4).steps) == (30, 4)
    assert sampler(Annealed(), steps=4).steps == 4


def test_released_is_the_published_procedure() -> None:
    settings = Settings.of("released", asked=True)
    walker = settings.sampler
    assert isinstance(walker, Released)
    assert (walker.steps, walker.lr, walker.lr_end, walker.epsilon3) == (20, 1, 1e-32, 0)
    assert (walker.epsilon1, walker.epsilon2, walker.class_gradient) == (1e-5, 1, "truncated")
    assert (settings.fill, settings.keep) == ("mean", 1)
    image, known = torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    value = -0.5e-9 * (255 * (0.5 - image)).square().sum()
    torch.testing.assert_close(settings.context(image, known)(torch.full((1, 3, 4, 4), 0.5))[0], value)


def test_what_is_given_goes_before_what_suits_the_sampler() -> None:
    suited = Settings.of("ppgn", asked=True)
    assert (suited.keep, suited.weight) == (0.5, 10.0)
    given = Settings.of("ppgn", asked=True, keep=0.9, fill=None, context={"weight": 2.0})
    assert (given.keep, given.weight, given.fill) == (0.9, 2.0, "harmonic")


@pytest.mark.parametrize(
    "given",
    [
        {"keep": 1.5},
        {"keep": "much"},
        {"fill": "smooth"},
        {"context": {"weight": 0}},
        {"context": {"std": -1}},
        {"context": {"likelihood": "cauchy"}},
        {"context": {"imputations": 1}},
        {"context": {"drawings": 1}},
        {"context": {"candidates": 1.5}},
        {"context": {"candidates": "few"}},
        {"context": {"wieght": 1}},
        {"steps": 0},
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings.of("annealed", asked=True, **given)
