"""What every kernel promises, whatever it does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Info, Kernel, State
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers import rows
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.published import Released
from tests.samplers.plain import annealed, langevin, mala
from tests.tiny import TinyCondition, TinyGenerator

KERNELS: dict[str, Kernel] = {
    "langevin": langevin(0.1, 0.3, 0.1, 0.5, lr_end=0.1, schedule="target", normalize="condition", fade=True),
    "released": Released(clip=None),
    "restarted": langevin(0.1, 0.3, 0.1, reset_every=3),
    "mala": mala(0.4, warmup=5),
    "annealed": annealed(5.0, 0.1, normalize="condition", fade=True),
    "corrected": annealed(5.0, 0.1, corrections=2, jacobian="exact"),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
START = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
SEEDS = (7, 8, 9)


def target(index: int = 1) -> Posterior:
    return Posterior(TinyGenerator(), Gaussian(), TinyCondition(index))


def noise(*seeds: int) -> Noise:
    return Noise(seeds or SEEDS, dtype=torch.float64)


def tensors(state: State) -> dict[str, Tensor]:
    return {"code": state.code, "alive": state.alive, **rows.tensors(state.evaluation), **state.memory}


def walk(kernel: Kernel, *seeds: int, start: Tensor = START) -> list[tuple[State, Info]]:
    """A start and eight steps, the target changed after the fourth."""
    source = noise(*seeds)
    state = kernel.init(start, target(), source)
    seen = [(state, Info(state.code, 0.0))]
    for i in range(8):
        state, info = kernel.step(state, target(1 if i < 4 else 2), source, i, 4)
        seen.append((state, info))
    return seen


@every_kernel
def test_everything_has_the_batch_first_and_is_detached(kernel: Kernel) -> None:
    for state, info in walk(kernel)[1:]:
        assert state.code.shape == (3, 5)
        assert state.alive.all()
        for name, value in tensors(state).items():
            assert len(value) == 3, name
            assert not value.requires_grad
        assert info.drift_norm.shape == (3,)
        assert isinstance(info.step_size, float) or info.step_size.shape == (3,)
        assert info.accepted is None or (info.accepted.shape, info.accepted.dtype) == ((3,), torch.bool)


@every_kernel
def test_the_image_is_that_of_the_code(kernel: Kernel) -> None:
    for state, _ in walk(kernel):
        assert torch.equal(state.evaluation.image, TinyGenerator()(state.code))


@every_kernel
def test_a_step_is_a_function_of_what_it_is_given(kernel: Kernel) -> None:
    start = START.clone()
    first, again = walk(kernel, start=start), walk(kernel, start=start)
    assert torch.equal(start, START)
    for (one, _), (other, _) in zip(first, again, strict=True):
        for name, value in tensors(one).items():
            assert torch.equal(value, tensors(other)[name]), name
    assert not torch.equal(first[-1][0].code, first[0][0].code)
    copies = {name: value.clone() for name, value in tensors(first[3][0]).items()}
    kernel.step(first[3][0], target(), noise(), 3, 4)
    for name, value in tensors(first[3][0]).items():
        assert torch.equal(value, copies[name]), name


@every_kernel
def test_rows_do_not_influence_each_other(kernel: Kernel) -> None:
    for (batch, _), (alone, _) in zip(walk(kernel), walk(kernel, 8, start=START[1:2]), strict=True):
        for name, value in tensors(alone).items():
            assert torch.equal(tensors(batch)[name][1:2], value), name


@every_kernel
@pytest.mark.parametrize("at", [3, 7, 13])
def test_a_resumed_chain_is_the_uninterrupted_one_bit_for_bit(kernel: Kernel, at: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 8, "burn_in": 1, "thin": 2}
    targets = [target(1), target(2)]
    whole = run_chains(targets, kernel, noise(), **options)
    options["checkpoint"] = tmp_path / "chains.safetensors"
    run_chains(targets, kernel, noise(), callback=lambda step, *_: step == at, **options)
    states: list[State] = []
    resumed = run_chains(targets, kernel, noise(), callback=lambda *step: states.append(step[2]), **options)
    assert len(states) == 16 - at
    rows_of = {(seed, step): row for row, (seed, step) in enumerate(zip(whole.seeds, whole.steps, strict=True))}
    compared = 0
    for row, key in enumerate(zip(resumed.seeds, resumed.steps, strict=True)):
        if key in rows_of:  # the state at which it was stopped may be kept besides
            compared += 1
            for name in ("signals", "codes", "log_prob"):
                assert torch.equal(getattr(resumed, name)[row], getattr(whole, name)[rows_of[key]]), name
    assert compared == len(whole)


@every_kernel
def test_a_start_that_is_not_finite_harms_no_other(kernel: Kernel) -> None:
    broken = START.clone()
    broken[1, 2] = float("nan")
    for (state, _), (clean, _) in zip(walk(kernel, start=broken), walk(kernel), strict=True):
        assert state.alive.tolist() == [True, False, True]
        assert torch.equal(state.code[[0, 2]], clean.code[[0, 2]])


def test_only_an_exact_chain_pays_for_a_density() -> None:
    for name, kernel in KERNELS.items():
        state = walk(kernel)[-1][0]
        asked = {item.name for item in fields(state.evaluation) if getattr(state.evaluation, item.name) is not None}
        assert ({"log_prior", "prior_score"} <= asked) == (name == "mala")
