from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Evaluation, Kernel, NoiseSource, Shape, State
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from tests.samplers.plain import langevin
from tests.tiny import Likelihood, LinearGenerator, weights

GRADIENT = torch.tensor([[3.0, -4.0], [0.0, 0.0]], dtype=torch.float64)
RESIDUAL = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
START = torch.tensor([[10.0, 20.0], [5.0, 6.0]], dtype=torch.float64)


class Constant:
    """A target that says the same of every code. Row 1 has nothing to say at all."""

    code_shape: Shape = (2,)

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
        self.seen.append(h)
        return Evaluation(h.new_zeros(2, 3, 1, 1), h.sum(dim=1), GRADIENT, RESIDUAL)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        # d = 0.5 · (1, 2) + 2 · (3, -4) = (6.5, -7)
        ({"normalize": "none"}, (16.5, 13.0)),
        ({"normalize": "drift"}, (10 + 6.5 / 6.75, 20 - 7 / 6.75)),
        ({"normalize": "condition"}, (10 + 0.5 + 2 * 3 / 12.5**0.5, 20 + 1 - 2 * 4 / 12.5**0.5)),
        ({"lr": 0.1, "lr_end": 0.3}, (10 + 0.15 * 6.5, 20 - 0.15 * 7)),
        ({"clip": (12.0, 15.0)}, (15.0, 13.0)),
        ({"clip": (12.0, 15.0), "decay": 0.5}, (7.5, 6.5)),
    ],
)
def test_one_step_by_hand(options: dict[str, Any], first: tuple[float, float]) -> None:
    kernel, target, noise = langevin(0.5, 2.0, 0.0, **options), Constant(), Noise([0, 1], dtype=torch.float64)
    state, info = kernel.step(kernel.init(START, target, noise), target, noise, 1, 4)
    second = 12.0 * options.get("decay", 1.0) if "clip" in options else None
    second = (5.0, 6.0) if second is None else (second, second)
    torch.testing.assert_close(state.code, torch.tensor([first, second], dtype=torch.float64))
    assert state.alive.tolist() == [True, True]
    assert info.drift_norm[1] == 0
    assert info.step_size == pytest.approx(0.15 if "lr" in options else 1.0)
    if options.get("normalize") != "condition":
        assert info.drift_norm[0] == pytest.approx((6.5**2 + 7**2) ** 0.5)


@pytest.mark.parametrize(("schedule", "sizes"), [("chain", [1.0, 0.75, 0.5, 0.25]), ("target", [1.0, 0.75, 1.0, 0.75])])
def test_schedule_runs_on_past_its_length_or_starts_anew(schedule: Any, sizes: list[float]) -> None:
    kernel = langevin(0.0, 1.0, 0.0, lr=1.0, lr_end=0.5, schedule=schedule)
    target, noise = Constant(), Noise([0, 1], dtype=torch.float64)
    state = kernel.init(START, target, noise)
    assert [kernel.step(state, target, noise, i, 10)[1].step_size for i in (0, 5, 10, 15)] == pytest.approx(sizes)


def test_noise_has_the_standard_deviation_epsilon3_and_is_scaled_by_lr() -> None:
    kernel, target, noise = langevin(0.0, 0.0, 0.3, lr=0.5, lr_end=0.5), Constant(), Noise([0, 1], dtype=torch.float64)
    state, _ = kernel.step(kernel.init(START, target, noise), target, noise, 0, 1)
    drawn = Noise([0, 1], dtype=torch.float64).normal("proposal", (2,))
    torch.testing.assert_close(state.code, START + 0.15 * drawn)


@pytest.mark.parametrize("normalize", ["none", "condition"])
def test_fade_scales_the_condition_by_what_its_wish_lacks(normalize: Any) -> None:
    class Sure(Constant):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            return replace(super().evaluate(h, noise), log_condition=torch.tensor([0.75, 1.0]).double().log())

    target, noise = Sure(), Noise([0, 1], dtype=torch.float64)
    moves = []
    for fade in (False, True):
        kernel = langevin(0.0, 2.0, 0.0, normalize=normalize, fade=fade)
        state, _ = kernel.step(kernel.init(START, target, noise), target, noise, 0, 1)
        moves.append(state.code - START)
    torch.testing.assert_close(moves[1][0], 0.25 * moves[0][0])
    assert moves[0][0].abs().min() > 1


def test_restarts_draw_codes_and_epsilon1_per_sample() -> None:
    seeds = tuple(range(200))
    kernel, noise = langevin(0.25, 0.0, 0.0, reset_every=2), Noise(seeds, dtype=torch.float64)

    class Still(Constant):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            zeros = torch.zeros_like(h)
            return Evaluation(h.new_zeros(len(h), 3, 1, 1), h[:, 0], zeros, zeros + 1)

    target = Still()
    state = kernel.init(torch.full((200, 2), 40.0, dtype=torch.float64), target, noise)
    states = []
    for i in range(4):
        state, _ = kernel.step(state, target, noise, i, 4)
        states.append(state)
    assert (states[0].code == 40.25).all()
    assert (states[1].code == 40.5).all()  # i = 1
    assert states[2].code.abs().max() < 5  # i = 2: restarted after its move
    epsilon1 = states[2].memory["epsilon1"]
    assert epsilon1.shape == (200,)
    assert 1e-6 <= epsilon1.min() < 1e-3 < 9e-3 < epsilon1.max() <= 1e-2
    torch.testing.assert_close(states[3].code, states[2].code + epsilon1[:, None])
    assert abs(states[2].code.mean()) < 4 / 400**0.5
    assert abs(states[2].code.var() - 1) < 4 * (2 / 400) ** 0.5


class Poisoned:
    """A target that breaks one field of one row in one evaluation, and insists on finite codes."""

    def __init__(self, target: Posterior, field: str, row: int, call: int, value: float) -> None:
        self.target, self.field, self.row, self.call, self.value = target, field, row, call, value
        self.code_shape = target.code_shape
        self.calls = 0

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
        assert h.isfinite().all()
        evaluation = self.target.evaluate(h, noise)
        self.calls += 1
        if self.calls != self.call:
            return evaluation
        broken = getattr(evaluation, self.field).clone()
        broken[self.row].view(-1)[0] = self.value
        return replace(evaluation, **{self.field: broken})


@pytest.mark.parametrize("field", ["image", "log_condition", "condition_grad", "prior_residual"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("call", [1, 4, 7])
def test_a_row_that_is_not_finite_is_frozen_and_harms_no_other(
    posterior: Posterior, field: str, value: float, call: int
) -> None:
    kernel, seeds, steps = langevin(0.1, 0.5, 0.1, reset_every=4), (5, 6, 7), 6
    whole = run_chains([posterior], kernel, Noise(seeds, dtype=torch.float64), steps=steps, thin=1)
    target = Poisoned(posterior, field, 1, call, value)
    seen: list[State] = []
    noise = Noise(seeds, dtype=torch.float64)
    broken = run_chains([target], kernel, noise, steps=steps, thin=1, callback=lambda *step: seen.append(step[2]))

    assert broken.failed == (6,)
    assert whole.failed == ()
    assert seen[-1].alive.tolist() == [True, False, True]
    healthy = [row for row, seed in enumerate(broken.seeds) if seed != 6]
    assert torch.equal(broken.codes[healthy], whole.codes[healthy])
    assert torch.equal(broken.images[healthy], whole.images[healthy])
    assert torch.equal(broken.log_prob[healthy], whole.log_prob[healthy])
    before = call - 2  # the last state with a finite evaluation is reached by step call - 2, counted from 1
    start = Noise(seeds, dtype=torch.float64).normal("init", posterior.code_shape)[1]
    codes = torch.stack([start, *whole.codes[steps : 2 * steps]])
    frozen = codes[[min(step, max(before, 0)) for step in range(1, steps + 1)]]
    assert torch.equal(broken.codes[steps : 2 * steps], frozen)
    if call > 1:
        assert broken.log_prob.isfinite().all()


def test_a_step_out_of_the_finite_is_not_taken() -> None:
    class Cliff(Constant):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            assert h.isfinite().all()
            evaluation = super().evaluate(h, noise)
            return replace(evaluation, condition_grad=torch.tensor([[1e308, 1.0], [1.0, 1.0]], dtype=torch.float64))

    kernel, target, noise = langevin(0.0, 100.0, 0.0, clip=(0.0, 30.0)), Cliff(), Noise([0, 1], dtype=torch.float64)
    state = kernel.init(START, target, noise)
    state, _ = kernel.step(state, target, noise, 0, 1)
    assert state.alive.tolist() == [False, True]
    assert torch.equal(state.code, torch.tensor([[10.0, 20.0], [30.0, 30.0]], dtype=torch.float64))


def test_gaussian_posterior_against_its_closed_form() -> None:
    """Linear G, Gaussian prior and likelihood: after t steps the chain's law is a Gaussian, known exactly.

    With h' = h + (ε/2) ∂log p(h | y) + N(0, ε) and precision P = I + AᵀA/s², the mean goes to P⁻¹Aᵀy/s² and the
    covariance to P⁻¹ (I − ε P / 4)⁻¹, the discretisation's well-known bias included.
    """
    n, step, std = 2000, 0.25, 0.8
    matrix, y = 1.2 * weights(1, 12, 3), 2 * weights(2, 12, 1).flatten()
    precision = torch.eye(3, dtype=torch.float64) + matrix.T @ matrix / std**2
    mean = torch.linalg.solve(precision, matrix.T @ y / std**2)
    exact = torch.linalg.inv(precision)
    biased = exact @ torch.linalg.inv(torch.eye(3, dtype=torch.float64) - step * precision / 4)
    contraction = torch.eye(3, dtype=torch.float64) - step / 2 * precision
    assert torch.linalg.eigvalsh(contraction).abs().max() ** 30 < 0.01  # forgets its start

    signal_shape = (3, 2, 2)
    likelihood = Likelihood(y.unflatten(0, signal_shape), std)
    target = Posterior(LinearGenerator(matrix, signal_shape), Gaussian(), likelihood)
    kernel = langevin(step / 2, step / 2, step**0.5)
    samples = run_chains([target], kernel, Noise(range(n), dtype=torch.float64), steps=30)

    spread = (biased.diag() / n) ** 0.5
    assert ((samples.codes.mean(dim=0) - mean).abs() < 4 * spread).all()
    variances = biased.diag()
    error = ((variances[:, None] * variances + biased**2) / n) ** 0.5
    covariance = samples.codes.T.cov()
    assert ((covariance - biased).abs() < 4 * error).all()
    assert ((covariance - exact).abs() > 4 * error).any()  # sharp enough to see the bias


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "rms"}, "normalize is 'rms'; expected one of: drift, condition, none"),
        ({"schedule": "once"}, "schedule is 'once'; expected one of: chain, target"),
        ({"epsilon1": -1.0}, "epsilon1 is -1.0; expected a number from 0 up"),
        ({"epsilon3": float("nan")}, "epsilon3 is nan; expected a finite number"),
        ({"clip": (1.0, 1.0)}, r"clip is \[1.0, 1.0\]; expected \[low, high\]"),
        ({"clip": [1.0]}, r"clip is \[1.0\]; expected"),
        ({"clip": 3.0}, "clip is 3.0; expected"),
        ({"decay": 0.0}, "decay is 0.0; expected a number above 0, at most 1"),
        ({"decay": 1.01}, "decay is 1.01; expected a number above 0, at most 1"),
        ({"reset_every": 0}, "reset_every is 0; expected 1 or more, or null"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        langevin(**{"epsilon1": 0.1, "epsilon2": 1.0, "epsilon3": 0.1, **options})


def test_it_is_a_kernel() -> None:
    kernel: Kernel = langevin(0.1, 1.0, 0.1)
    assert kernel == langevin(0.1, 1.0, 0.1)
