"""What every sampler offers besides its kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from ppgn.contracts import Evaluation, Info, NoiseSource, State, Target
from ppgn.errors import InputError
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import sample
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import Mala
from ppgn.samplers.published import DGNAM, Released
from ppgn.samplers.sampler import Sampler
from ppgn.samplers.views import Jitter

SAMPLERS = {
    "ppgn": Langevin,
    "released": Released,
    "dgn_am": DGNAM,
    "mala": Mala,
    "annealed": Annealed,
    "anchored": Anchored,
}
CONF = Path(__file__).parents[2] / "conf" / "sampler"


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_command_lines_name_stands_for_the_class_and_repeats_no_value(name: str) -> None:
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    made = SAMPLERS[name]
    assert node == {"_target_": f"{made.__module__}.{made.__name__}"}
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == sorted(SAMPLERS)
    assert all(isinstance(field.default, int | float | str | tuple | None) for field in fields(made))


@pytest.mark.parametrize("made", SAMPLERS.values())
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5; expected a whole number"),
        ({"views": True}, "views is True"),
        ({"zoom": "much"}, "zoom is 'much'; expected a finite number"),
        ({"class_gradient": "half"}, "class_gradient is 'half'.*full, truncated"),
        ({"views": -1}, "views of 1 or more"),
        ({"views": 1, "zoom": 0.5}, "zoom"),
    ],
)
def test_settings_that_cannot_be(made: Callable[..., Sampler], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**settings)


def test_views_of_nothing_and_views_that_are_the_image_are_none() -> None:
    assert Langevin(views=3, shift=0.5, zoom=2.0).transform == Jitter(3, 0.5, 2.0)
    assert Langevin().transform == Annealed().transform == Jitter(1, 0.05, 1.3)
    for sampler in (Langevin(views=0), Langevin(shift=0, zoom=1), Mala(), Released(), DGNAM()):
        assert sampler.transform is None


def test_the_last_steps_start_where_the_whole_walk_stands_then() -> None:
    assert Langevin(steps=40).last(0.5) == Langevin(steps=20, lr=0.55)
    assert Annealed(steps=40).last(0.5).last(0.5) == Annealed(steps=10, share=0.25)
    assert Mala(steps=1000).last(0.6) == Mala(steps=600)
    assert Langevin(steps=3).last(0.01).steps == 1


class Walk:
    """A kernel that knows nothing of ours: every step adds 1."""

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        return State(h, target.evaluate(h), torch.ones(len(h), dtype=torch.bool))

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        code = state.code + 1
        return State(code, target.evaluate(code), state.alive), Info(code[:, 0], 1.0)


class Anywhere:
    code_shape = (2,)

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
        return Evaluation(h, h[:, 0], h, h)


def test_a_kernel_from_outside_is_a_sampler_of_100_steps() -> None:
    sampler = Sampler.of(Walk())
    assert (sampler.steps, sampler.transform, sampler.class_gradient) == (100, None, "full")
    assert sampler.priors == Sampler.priors
    for kernel in (Walk(), sampler):
        assert sample([Anywhere()], kernel, [0], init=torch.zeros(1, 2)).codes.tolist() == [[100, 100]]
    assert Sampler.of(Annealed()) == Annealed()


def test_what_a_kernel_from_outside_says_of_itself_counts() -> None:
    kernel = Walk()
    kernel.steps, kernel.views, kernel.priors = 7, 2, ["dae"]  # type: ignore[attr-defined]
    sampler = Sampler.of(kernel)
    assert (sampler.steps, sampler.transform, sampler.priors) == (7, Jitter(2, 0.05, 1.3), ("dae",))
    assert sample([Anywhere()], sampler.last(0.5), [0], init=torch.zeros(1, 2)).codes.tolist() == [[4, 4]]
