"""The released samplers against plain transcriptions of their published loops, one chain at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.published import DGNAM, Released
from tests.tiny import CODE_SHAPE, TinyCondition, TinyEncoder, TinyGenerator


def published_loop(
    conditions: Sequence[TinyCondition],
    seed: int,
    n_iters: int,
    *,
    eps1: float,
    eps2: float,
    eps3: float,
    lr: float,
    lr_end: float,
    reset_every: int = 0,
) -> list[tuple[Tensor, float]]:
    """(h, log p_k) at the top of every iteration of the loop."""
    generator, encoder = TinyGenerator(), TinyEncoder()
    noise = Noise([seed], dtype=torch.float64)
    h = noise.normal("init", CODE_SHAPE)
    trajectory = []
    i = 0
    for number, condition in enumerate(conditions):
        for _ in range(n_iters + 1 if number == 0 else n_iters):
            lr_i = lr + (lr_end - lr) * i / n_iters
            h = h.detach().requires_grad_()
            x = generator(h)
            seen = x.detach().requires_grad_()
            logits = condition.logits(seen)
            p = torch.softmax(logits, dim=1)[0]
            k = condition.index
            seed_gradient = torch.zeros_like(logits)
            seed_gradient[0, k] = 1 - p[k]
            (at_image,) = torch.autograd.grad(logits, seen, grad_outputs=seed_gradient)
            (d_cond,) = torch.autograd.grad(x, h, grad_outputs=at_image)
            h = h.detach()
            trajectory.append((h[0], float(p[k].detach().log())))
            d_prior = encoder(x.detach()) - h
            d = eps1 * d_prior + eps2 * d_cond + eps3 * noise.normal("proposal", CODE_SHAPE)
            h = h + lr_i * d / d.abs().mean()
            h = h.clip(0, 30)
            if reset_every and i > 0 and i % reset_every == 0:
                eps1 = 1e-6 + (1e-2 - 1e-6) * float(noise.uniform("reset", ()))
                h = noise.normal("reset", CODE_SHAPE)
            i += 1
    return trajectory


CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "all three terms matter": {"epsilon1": 0.2, "epsilon3": 0.05, "lr": 0.3, "lr_end": 0.3},
    "cooling": {"epsilon1": 0.05, "epsilon3": 0.01, "lr": 0.7, "lr_end": 0.1},
    "restarts": {"epsilon1": 0.1, "epsilon2": 0.01, "epsilon3": 1e-3, "lr": 0.2, "lr_end": 0.2, "reset_every": 4},
}


@pytest.mark.parametrize("classes", [(1,), (2, 0), (0, 3, 1)])
@pytest.mark.parametrize("name", CASES)
def test_trajectories_are_those_of_the_published_loop(name: str, classes: tuple[int, ...]) -> None:
    n_iters, seeds = 12, (3, 0, 8)
    sampler = Released(steps=n_iters, **CASES[name])
    conditions = [TinyCondition(k, truncated=True) for k in classes]
    generator, prior = TinyGenerator(), Joint(TinyEncoder())
    targets = [Posterior(generator, prior, condition) for condition in conditions]
    samples = run_chains(targets, sampler, Noise(seeds, dtype=torch.float64), steps=sampler.steps, thin=1)

    chain = len(classes) * n_iters
    assert samples.steps == tuple(range(1, chain + 1)) * len(seeds)
    kernel: dict[str, Any] = {"epsilon1": 1e-5, "epsilon2": 1.0, "epsilon3": 1e-17, "lr": 1.0, "lr_end": 1.0} | CASES[
        name
    ]
    kernel = {key.replace("epsilon", "eps"): value for key, value in kernel.items()}
    for row, seed in enumerate(seeds):
        expected = published_loop(conditions, seed, n_iters, **kernel)[1:]
        ours = slice(row * chain, (row + 1) * chain)
        torch.testing.assert_close(samples.codes[ours], torch.stack([h for h, _ in expected]), rtol=0, atol=1e-10)
        logs = torch.tensor([log_p for _, log_p in expected], dtype=torch.float64)
        torch.testing.assert_close(samples.log_prob[ours], logs, rtol=0, atol=1e-9)


def test_the_cases_tell_the_quirks_apart() -> None:
    """Without its clip, its truncated gradient or its stale step at a switch, the loop would walk elsewhere."""
    kernel: dict[str, Any] = {"eps1": 0.05, "eps2": 1.0, "eps3": 0.01, "lr": 0.7, "lr_end": 0.1}
    trajectory = published_loop([TinyCondition(2), TinyCondition(0)], 3, 12, **kernel)
    codes = torch.stack([h for h, _ in trajectory])
    assert (codes[1:] == 0).any()
    full, truncated = (
        Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(2, truncated=flag))
        .evaluate(codes)
        .condition_grad
        for flag in (False, True)
    )
    assert not torch.allclose(full, truncated, rtol=0.1)
    assert len(trajectory) == 25


def test_a_row_without_drift_stays_where_it_is() -> None:
    sampler = Released(epsilon1=0.0, epsilon2=0.0, epsilon3=0.0, steps=3)
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(1))
    init = torch.tensor([[0.5, 1.0, 0.0, 2.0, 29.0]])
    samples = run_chains([target], sampler, Noise([0], dtype=torch.float64), steps=3, init=init)
    assert torch.equal(samples.codes, init.double())
    assert samples.failed == ()


def published_dgn_am(
    index: int, seed: int, n: int, lr: float, lr_end: float, bounds: tuple[float, float], decay: float
) -> Tensor:
    """The codes behind every iteration of the loop, (n, 5), with its step in pixels and its step in codes."""
    generator, condition = TinyGenerator(), TinyCondition(index)
    h = Noise([seed], dtype=torch.float64).normal("init", CODE_SHAPE)
    codes = []
    for i in range(n):
        lr_i = lr + (lr_end - lr) * i / n
        h = h.detach().requires_grad_()
        x0 = generator(h)
        crop = x0.detach().requires_grad_()
        one_hot = torch.zeros(1, 4, dtype=torch.float64)
        one_hot[0, index] = 1
        (g,) = torch.autograd.grad(condition.logits(crop), crop, grad_outputs=one_hot)
        x1 = crop + lr_i * g / g.abs().mean()
        (gh,) = torch.autograd.grad(x0, h, grad_outputs=(x1 - crop).detach())
        h = h.detach() + lr_i * gh / gh.abs().mean()
        h = h.clip(*bounds)
        h = h * decay
        codes.append(h[0])
    return torch.stack(codes)


@pytest.mark.parametrize("seed", [3, 8])
@pytest.mark.parametrize("bounds", [(-3.0, 3.0), (0.0, 12.0)])
def test_codes_are_those_of_the_published_dgn_am(seed: int, bounds: tuple[float, float]) -> None:
    sampler = DGNAM(clip=bounds, steps=30)
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(2, truncated=True))
    noise = Noise([0, seed], dtype=torch.float64)
    found = run_chains([target], sampler, noise, steps=30, thin=1).codes[30:]
    expected = published_dgn_am(2, seed, 30, 2.14, 1e-10, bounds, 0.99)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # full steps double a rounding error
    assert any(torch.isclose(expected / 0.99, expected.new_tensor(bound)).any() for bound in bounds)
    without = published_dgn_am(2, seed, 30, 2.14, 1e-10, bounds, 1.0)
    assert not torch.allclose(expected, without, atol=0.01)


def test_dgn_am_starts_a_further_target_with_full_steps() -> None:
    sampler = DGNAM(steps=4)
    targets = [Posterior(TinyGenerator(), Gaussian(), TinyCondition(k, truncated=True)) for k in (2, 1)]
    sizes: list[float] = []
    noise = Noise([0], dtype=torch.float64)
    run_chains(targets, sampler, noise, steps=4, callback=lambda *step: sizes.append(step[3].step_size))
    assert sizes == pytest.approx(2 * [2.14, 0.75 * 2.14, 0.5 * 2.14, 0.25 * 2.14])


def test_what_was_published() -> None:
    assert Released() == Released(
        epsilon1=1e-5, epsilon2=1, epsilon3=1e-17, lr=1, lr_end=1, schedule="chain", normalize="drift", clip=(0, 30)
    )
    for sampler in (Released(), DGNAM()):
        assert (sampler.steps, sampler.class_gradient, sampler.transform) == (200, "truncated", None)
    assert (DGNAM().epsilon1, DGNAM().epsilon3, DGNAM().decay, DGNAM().priors) == (0, 0, 0.99, ("gaussian",))
