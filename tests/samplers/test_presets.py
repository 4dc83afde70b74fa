from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ppgn.errors import InputError
from ppgn.samplers import presets
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import Mala
from ppgn.samplers.presets import Sampler
from ppgn.samplers.views import Jitter

PRESETS = [presets.ppgn, presets.released, presets.dgn_am, presets.mala, presets.annealed]
CONF = Path(__file__).parents[2] / "conf" / "sampler"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_lists_every_default_of_the_function(preset: Callable[..., Sampler]) -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{preset.__name__}.yaml"))
    assert isinstance(config, dict)
    assert config.pop("_target_") == f"ppgn.samplers.presets.{preset.__name__}"
    defaults: dict[str, Any] = {name: value.default for name, value in inspect.signature(preset).parameters.items()}
    if defaults.get("clip"):
        defaults["clip"] = list(defaults["clip"])
    assert config == defaults
    assert {name: type(value) for name, value in config.items()} == {n: type(value) for n, value in defaults.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_hydra_builds_what_python_builds(preset: Callable[..., Sampler]) -> None:
    built, expected = instantiate(OmegaConf.load(CONF / f"{preset.__name__}.yaml")), preset()
    assert (built.kernel, built.steps, built.class_gradient) == (
        expected.kernel,
        expected.steps,
        expected.class_gradient,
    )
    for name in ("views", "shift", "zoom"):
        assert getattr(built.transform, name, None) == getattr(expected.transform, name, None)


def test_released_is_what_was_published() -> None:
    expected = Langevin(1e-5, 1.0, 1e-17, 1.0, 1.0, "chain", "drift", (0.0, 30.0), None)
    assert presets.released() == Sampler(expected, 200, None, "truncated")
    assert presets.released(reset_every=100, epsilon1=1e-7, steps=1000) == Sampler(
        Langevin(1e-7, 1.0, 1e-17, 1.0, 1.0, "chain", "drift", (0.0, 30.0), 100), 1000, None, "truncated"
    )


def test_dgn_am_has_neither_prior_nor_noise() -> None:
    kernel = Langevin(0.0, 1.0, 0.0, 2.0, 0.5, "target", "drift", None, decay=0.9)
    built = presets.dgn_am(lr=2.0, lr_end=0.5, clip=None, decay=0.9, steps=7)
    assert built == Sampler(kernel, 7, None, "truncated", ("gaussian",))


def test_an_exact_chain_has_no_random_views() -> None:
    expected = Sampler(Mala(0.2, 3, 0.5), 9, None, "full", ("mixture", "gaussian"))
    assert presets.mala(step_size=0.2, warmup=3, weight=0.5, steps=9) == expected
    with pytest.raises(InputError, match="warmup is 9; expected less than steps=9"):
        presets.mala(warmup=9, steps=9)


def test_annealed_overrides_reach_their_places() -> None:
    names = ("sigma_max", "sigma_min", "epsilon1", "epsilon2", "epsilon3", "normalize", "fade", "corrections")
    values = (5.0, 0.5, 0.9, 2.0, 0.5, "none", True, 2)
    built = presets.annealed(**dict(zip(names, values, strict=True)), jacobian="exact", steps=7, views=3)  # type: ignore[arg-type]
    assert built.kernel == Annealed(*values, "exact")  # type: ignore[arg-type]
    assert isinstance(built.transform, Jitter)
    assert (built.steps, built.transform.views) == (7, 3)


def test_overrides_reach_their_places() -> None:
    built = presets.ppgn(epsilon1=0.2, lr_end=0.3, clip=(-4, 4), fade=True, steps=7, views=3, shift=0.5, zoom=2.0)
    assert isinstance(built.kernel, Langevin)
    assert isinstance(built.transform, Jitter)
    assert (built.kernel.epsilon1, built.kernel.lr_end, built.kernel.clip) == (0.2, 0.3, (-4.0, 4.0))
    assert (built.kernel.normalize, built.kernel.fade) == ("condition", True)
    assert (built.steps, built.class_gradient) == (7, "full")
    assert (built.transform.views, built.transform.shift, built.transform.zoom) == (3, 0.5, 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"class_gradient": "half"}, "class_gradient is 'half'; expected one of: full, truncated"),
        ({"clip": [1.0]}, r"clip is \[1.0\]; expected \[low, high\], or null"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        presets.released(**options)
