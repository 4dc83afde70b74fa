"""The released sampler of DGN-AM against a plain transcription of its published loop, one chain at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.published import DGNAM
from tests.tiny import CODE_SHAPE, TinyCondition, TinyGenerator


def published_loop(
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
def test_codes_are_those_of_the_published_loop(seed: int, bounds: tuple[float, float]) -> None:
    sampler = DGNAM(clip=bounds, steps=30)
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(2, truncated=True))
    noise = Noise([0, seed], dtype=torch.float64)
    found = run_chains([target], sampler, noise, steps=30, thin=1).codes[30:]
    expected = published_loop(2, seed, 30, 2.14, 1e-10, bounds, 0.99)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # full steps double a rounding error
    assert any(torch.isclose(expected / 0.99, expected.new_tensor(bound)).any() for bound in bounds)
    without = published_loop(2, seed, 30, 2.14, 1e-10, bounds, 1.0)
    assert not torch.allclose(expected, without, atol=0.01)


def test_a_further_target_starts_with_full_steps() -> None:
    sampler = DGNAM(steps=4)
    targets = [Posterior(TinyGenerator(), Gaussian(), TinyCondition(k, truncated=True)) for k in (2, 1)]
    sizes: list[float] = []
    noise = Noise([0], dtype=torch.float64)
    run_chains(targets, sampler, noise, steps=4, callback=lambda *step: sizes.append(step[3].step_size))
    assert sizes == pytest.approx(2 * [2.14, 0.75 * 2.14, 0.5 * 2.14, 0.25 * 2.14])
