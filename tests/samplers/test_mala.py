from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from ppgn.contracts import Evaluation, Info, NoiseSource, Shape, State
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers import rows
from ppgn.samplers.chains import run_chains
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import ACCEPTANCE, log_correction
from ppgn.samplers.noise import Noise
from ppgn.samplers.views import Jitter
from tests.samplers.plain import langevin, mala
from tests.samplers.quick import Quick
from tests.tiny import Likelihood, LinearGenerator, TinyCondition, TinyEncoder, TinyGenerator, weights

DOUBLE = torch.float64


class Normals:
    """The target N(mean, diag(std²)), with an image of one pixel: the first coordinate."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std
        self.code_shape: Shape = tuple(mean.shape)

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
        assert density
        score = (self.mean - h) / self.std**2
        log_prior = Normal(self.mean, self.std, validate_args=False).log_prob(h).sum(dim=1)
        image = h[:, :1].reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
        zeros = torch.zeros_like(h)
        return Evaluation(image, h.new_zeros(len(h)), zeros, -h, log_prior, score)


def unit(n: int) -> Normals:
    return Normals(torch.zeros(n, dtype=DOUBLE), torch.ones(n, dtype=DOUBLE))


def tiny() -> Posterior:
    return Posterior(TinyGenerator(), Gaussian(), TinyCondition(1))


def doubles(seeds: Any) -> Noise:
    return Noise(seeds, dtype=DOUBLE)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2, 2)])
@pytest.mark.parametrize("step", [1e-3, 0.1, 2.0])
def test_correction_is_that_of_the_transition_densities(shape: Shape, step: float) -> None:
    h, proposal, gradient, its_gradient = Noise(range(5), dtype=DOUBLE).normal("proposal", (4, *shape)).unbind(dim=1)
    steps = step * torch.linspace(0.5, 1.5, 5, dtype=DOUBLE)
    size = rows.per_row(steps, h)
    backward = Normal(proposal + size * its_gradient, (2 * size).sqrt()).log_prob(h)
    forward = Normal(h + size * gradient, (2 * size).sqrt()).log_prob(proposal)
    expected = (backward - forward).flatten(1).sum(dim=1)
    ours = log_correction(h, gradient, proposal, its_gradient, steps)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_a_step_is_accepted_with_the_probability_of_the_metropolis_test() -> None:
    """Every number computed again from the target alone: densities by `torch.distributions`, gradients by autograd."""
    seeds, step, weight = range(400), 0.4, 1.7
    target, start = tiny(), 1.5 * doubles(range(400)).normal("init", (5,))
    kernel, noise = mala(step, weight=weight), doubles(seeds)
    state = kernel.init(start, target, noise)
    after, info = kernel.step(state, target, noise, 0, 10)

    def log_p(h: Tensor) -> Tensor:
        log_prior = Normal(0.0, 1.0).log_prob(h).sum(dim=1)
        return log_prior + weight * target.condition(target.generator(h))

    def gradient(h: Tensor) -> Tensor:
        h = h.clone().requires_grad_()
        return torch.autograd.grad(log_p(h).sum(), h)[0]

    again = doubles(seeds)
    spread = (2 * step) ** 0.5
    proposal = start + step * gradient(start) + spread * again.normal("proposal", (5,))
    forward = Normal(start + step * gradient(start), spread).log_prob(proposal).sum(dim=1)
    backward = Normal(proposal + step * gradient(proposal), spread).log_prob(start).sum(dim=1)
    expected = again.uniform("accept", ()).log() < log_p(proposal) - log_p(start) + backward - forward
    assert info.accepted is not None
    assert torch.equal(info.accepted, expected)
    assert 50 < expected.sum() < 350
    torch.testing.assert_close(after.code, torch.where(expected[:, None], proposal, start))


def test_detailed_balance_on_a_grid() -> None:
    """The kernel's own transition density p(x) K(x, x'), off the diagonal, is symmetric in one dimension."""
    grid, step = torch.linspace(-3, 3, 41, dtype=DOUBLE), 0.5

    def log_p(x: Tensor) -> Tensor:  # two modes, not of equal weight
        return torch.logaddexp(-2 * (x - 1) ** 2, 0.5 - (x + 1.2) ** 2)

    x = grid.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_p(x).sum(), x)
    here, there = (values.flatten()[:, None] for values in torch.meshgrid(grid, grid, indexing="ij"))
    g_here, g_there = (values.flatten()[:, None] for values in torch.meshgrid(gradient, gradient, indexing="ij"))
    correction = log_correction(here, g_here, there, g_there, torch.full((len(here),), step, dtype=DOUBLE))
    log_ratio = (log_p(there) - log_p(here))[:, 0] + correction
    proposed = Normal(here + step * g_here, (2 * step) ** 0.5).log_prob(there)[:, 0]
    flow = (log_p(here)[:, 0] + proposed + log_ratio.clamp(max=0)).exp().view(41, 41)
    torch.testing.assert_close(flow, flow.T, rtol=1e-12, atol=1e-14)
    unadjusted = (log_p(here)[:, 0] + proposed).exp().view(41, 41)
    assert not torch.allclose(unadjusted, unadjusted.T, rtol=0.1)


def test_exact_draws_stay_exact_draws() -> None:
    """Start in the target, a mixture that no Langevin step of this length keeps; the first four moments stay."""
    n = 4000

    class Mixture(Normals):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
            with torch.enable_grad():
                code = h.detach().requires_grad_()
                log_p = torch.logaddexp(-8 * (code - 1) ** 2, -2 * (code + 0.5) ** 2).sum(dim=1)  # std 1/4 and 1/2
                (score,) = torch.autograd.grad(log_p.sum(), code)
            return replace(super().evaluate(h, density=density), log_prior=log_p.detach(), prior_score=score)

    noise = Quick(n)
    first = noise.uniform("start", (1,)) < 1 / 3  # masses go as the standard deviations
    draws = noise.normal("start", (1,))
    start = torch.where(first, 1 + 0.25 * draws, -0.5 + 0.5 * draws)
    target = Mixture(torch.zeros(1, dtype=DOUBLE), torch.ones(1, dtype=DOUBLE))
    rate: list[float] = []

    def callback(step: int, total: int, state: State, info: Info) -> None:
        assert info.accepted is not None
        rate.append(info.accepted.double().mean().item())

    samples = run_chains([target], mala(0.08), noise, steps=15, init=start, callback=callback)
    assert 0.3 < rate[0] < 0.9
    unadjusted = run_chains([target_of(target)], ula(0.08), Quick(n), steps=15, init=start)
    for power in range(1, 5):
        kept, began = samples.codes**power, start**power
        error = 4 * (began.var() / n * 2).sqrt()
        assert (kept.mean() - began.mean()).abs() < error, power
    moments = [((unadjusted.codes**p).mean() - (start**p).mean()).abs() / (start**p).var().sqrt() for p in range(1, 5)]
    assert max(moments) * (n / 2) ** 0.5 > 4  # sharp enough to see a chain without the test


def ula(step: float) -> Langevin:
    """The same proposals without the test."""
    return langevin(step, 0.0, (2 * step) ** 0.5)


def target_of(target: Normals) -> Any:
    """`target` for a sampler without density: its score is the residual."""

    class Scored:
        code_shape = target.code_shape

        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            evaluation = target.evaluate(h, noise, density=True)
            assert evaluation.prior_score is not None
            return replace(evaluation, prior_residual=evaluation.prior_score, log_prior=None, prior_score=None)

    return Scored()


def test_mala_has_the_variance_of_the_target_and_the_unadjusted_chain_its_known_bias() -> None:
    n, step = 1500, 0.5
    std = torch.tensor([1.0, 0.8, 1.5], dtype=DOUBLE)
    target = Normals(torch.tensor([1.0, -2.0, 0.0], dtype=DOUBLE), std)
    exact = run_chains([target], mala(step), Quick(n), steps=60)
    biased = run_chains([target_of(target)], ula(step), Quick(n), steps=60)
    error = 4 * std**2 * (2 / n) ** 0.5
    assert ((exact.codes.mean(dim=0) - target.mean).abs() < 4 * std / n**0.5).all()
    assert ((exact.codes.var(dim=0) - std**2).abs() < error).all()
    covariance = exact.codes.T.cov()
    assert (covariance - covariance.diag().diag()).abs().max() < 4 * 1.5 / n**0.5
    known = std**2 / (1 - step / std**2 / 2)
    assert ((biased.codes.var(dim=0) - known).abs() < error * known / std**2).all()
    assert ((biased.codes.var(dim=0) - std**2) > error)[:2].all()


def test_a_linear_gaussian_posterior_with_a_weight() -> None:
    n, std, weight = 2000, 0.8, 0.6
    matrix, y = 1.2 * weights(1, 12, 3), 2 * weights(2, 12, 1).flatten()
    precision = torch.eye(3, dtype=DOUBLE) + weight * matrix.T @ matrix / std**2
    mean = torch.linalg.solve(precision, weight * matrix.T @ y / std**2)
    exact = torch.linalg.inv(precision)
    likelihood = Likelihood(y.unflatten(0, (3, 2, 2)), std)
    target = Posterior(LinearGenerator(matrix, (3, 2, 2)), Gaussian(), likelihood)
    samples = run_chains([target], mala(0.2, warmup=40, weight=weight), Quick(n), steps=70)
    assert ((samples.codes.mean(dim=0) - mean).abs() < 4 * (exact.diag() / n) ** 0.5).all()
    variances = exact.diag()
    error = ((variances[:, None] * variances + exact**2) / n) ** 0.5
    assert ((samples.codes.T.cov() - exact).abs() < 4 * error).all()


def test_rejected_rows_keep_every_field_and_accepted_ones_keep_none() -> None:
    target, noise, kernel = tiny(), doubles(range(60)), mala(0.5)
    state = kernel.init(2 * noise.normal("init", (5,)), target, noise)
    after, info = kernel.step(state, target, noise, 0, 10)
    assert info.accepted is not None
    assert 10 < info.accepted.sum() < 50  # of every row its own
    assert torch.equal((after.code == state.code).all(dim=1), ~info.accepted)
    fresh = target.evaluate(after.code, density=True)
    for item in fields(Evaluation):
        before, now = getattr(state.evaluation, item.name), getattr(after.evaluation, item.name)
        assert torch.equal((now == before).flatten(1 - (now.dim() == 1)).reshape(60, -1).all(dim=1), ~info.accepted)
        assert torch.equal(now, getattr(fresh, item.name)), item.name


def test_proposals_are_those_of_a_chain_without_the_test() -> None:
    target, step, seeds = tiny(), 0.3, range(80)
    start = doubles(seeds).normal("init", (5,))
    noise = doubles(seeds)
    tested = mala(step)
    state = tested.init(start, target, noise)
    after, info = tested.step(state, target, noise, 0, 5)
    noise, free = doubles(seeds), langevin(step, step, (2 * step) ** 0.5)
    moved, _ = free.step(free.init(start, target, noise), target, noise, 0, 5)
    assert info.accepted is not None
    assert info.accepted.any()
    assert (~info.accepted).any()
    torch.testing.assert_close(after.code[info.accepted], moved.code[info.accepted], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", [item.name for item in fields(Evaluation)])
def test_a_proposal_that_is_not_finite_is_rejected_and_the_chain_goes_on(field: str, value: float) -> None:
    class Breaking(Normals):
        calls = 0

        def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
            assert h.isfinite().all()
            evaluation = super().evaluate(h, noise, density=density)
            self.calls += 1
            if self.calls != 3:
                return evaluation
            broken = getattr(evaluation, field).clone()
            broken[1].view(-1)[0] = value
            return replace(evaluation, **{field: broken})

    states: list[State] = []
    infos: list[Info] = []

    def callback(step: int, total: int, state: State, info: Info) -> None:
        states.append(state)
        infos.append(info)

    mean, std = torch.zeros(2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE)
    samples = run_chains([Breaking(mean, std)], mala(0.01), doubles([1, 2, 3]), steps=6, thin=1, callback=callback)
    clean = run_chains([Normals(mean, std)], mala(0.01), doubles([1, 2, 3]), steps=6, thin=1)
    assert samples.failed == ()
    assert [info.accepted[1].item() for info in infos if info.accepted is not None] == [True, False, *[True] * 4]
    assert torch.equal(states[1].code[1], states[0].code[1])
    assert torch.equal(samples.codes[[0, 1, 2, 3, 4, 5, 12, 13]], clean.codes[[0, 1, 2, 3, 4, 5, 12, 13]])


def test_a_leap_out_of_the_finite_is_rejected_unseen() -> None:
    class Cliff(Normals):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
            assert h.isfinite().all()
            evaluation = super().evaluate(h, noise, density=density)
            return replace(evaluation, prior_score=torch.full_like(h, 1e308))

    target, noise = Cliff(torch.zeros(2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE)), doubles([1, 2])
    kernel = mala(100.0, warmup=5)
    state = kernel.init(torch.ones(2, 2, dtype=DOUBLE), target, noise)
    after, info = kernel.step(state, target, noise, 0, 10)
    assert torch.equal(after.code, state.code)
    assert info.accepted is not None
    assert not info.accepted.any()
    assert after.alive.all()
    assert (after.memory["log_step"] < state.memory["centre"]).all()


def test_a_start_that_is_not_finite_never_moves() -> None:
    start = torch.tensor([[0.0, 1.0], [float("nan"), 1.0]], dtype=DOUBLE)
    samples = run_chains([unit(2)], mala(0.1), doubles([1, 2]), steps=5, init=start)
    assert samples.failed == (2,)
    assert samples.codes[1].isnan().tolist() == [True, False]
    assert samples.codes[0].isfinite().all()
    assert (samples.codes[0] != start[0]).all()


@pytest.mark.parametrize(("dimension", "step"), [(2, 0.001), (50, 3.0)])
def test_every_chain_adapts_its_step_to_the_best_acceptance_and_freezes_it(dimension: int, step: float) -> None:
    warmup, steps = 300, 500
    accepted: list[Tensor] = []
    sizes: list[Tensor] = []

    def callback(step: int, total: int, state: State, info: Info) -> None:
        assert info.accepted is not None
        assert isinstance(info.step_size, Tensor)
        accepted.append(info.accepted.double())
        sizes.append(info.step_size)

    noise = Quick(40)
    run_chains([unit(dimension)], mala(step, warmup=warmup), noise, steps=steps, callback=callback)
    rate = torch.stack(accepted[warmup:]).mean()
    assert rate.item() == pytest.approx(ACCEPTANCE, abs=0.05)
    assert all(torch.equal(size, sizes[warmup]) for size in sizes[warmup:])
    assert not any(torch.equal(a, b) for a, b in pairwise(sizes[: warmup + 1]))
    assert sizes[warmup].unique().numel() == 40
    assert sizes[warmup].std() / sizes[warmup].mean() < 0.3


def test_dual_averaging_is_that_of_its_source() -> None:
    """Hoffman & Gelman 2014, Algorithm 5, computed from the acceptance probabilities that its steps had."""
    target, kernel, noise = unit(3), mala(0.7, warmup=4), doubles([5])
    state = kernel.init(torch.tensor([[1.0, -1.0, 2.0]], dtype=DOUBLE), target, noise)
    h_bar, log_bar, log_step = 0.0, 0.0, torch.tensor(0.7, dtype=DOUBLE).log().item()
    centre = torch.tensor(7.0, dtype=DOUBLE).log().item()
    for t in range(1, 8):
        before = state
        again = doubles([5])
        draws = [again.normal("proposal", (3,)) for _ in range(t)][-1]
        state, info = kernel.step(state, target, noise, t - 1, 20)
        assert isinstance(info.step_size, Tensor)
        assert info.step_size.log().item() == pytest.approx(log_step, rel=1e-12)
        size = info.step_size.item()
        h = before.code
        proposal = h - size * h + (2 * size) ** 0.5 * draws
        spread = (2 * size) ** 0.5
        log_ratio = Normal(0.0, 1.0).log_prob(proposal).sum() - Normal(0.0, 1.0).log_prob(h).sum()
        log_ratio = log_ratio + Normal(proposal - size * proposal, spread).log_prob(h).sum()
        log_ratio = log_ratio - Normal(h - size * h, spread).log_prob(proposal).sum()
        if t <= 4:
            h_bar = (1 - 1 / (t + 10)) * h_bar + (0.574 - min(1.0, log_ratio.exp().item())) / (t + 10)
            log_step = centre - t**0.5 / 0.05 * h_bar
            log_bar = t**-0.75 * log_step + (1 - t**-0.75) * log_bar
            if t == 4:
                log_step = log_bar


def test_another_target_is_evaluated_anew_and_warmed_up_for_anew() -> None:
    other = Normals(torch.full((2,), 3.0, dtype=DOUBLE), torch.full((2,), 0.3, dtype=DOUBLE))
    states: list[State] = []
    sizes: list[Tensor] = []

    def callback(step: int, total: int, state: State, info: Info) -> None:
        assert isinstance(info.step_size, Tensor)
        states.append(state)
        sizes.append(info.step_size)

    run_chains([unit(2), other], mala(0.5, warmup=150), Quick(30), steps=300, callback=callback)
    for state, target in ((states[299], unit(2)), (states[300], other)):
        log_prior = target.evaluate(state.code, density=True).log_prior
        assert log_prior is not None
        torch.testing.assert_close(state.evaluation.log_prior, log_prior)
    assert torch.equal(sizes[300], sizes[299])
    assert not torch.equal(sizes[301], sizes[300])
    torch.testing.assert_close(sizes[-1].mean() / sizes[299].mean(), torch.tensor(0.09, dtype=DOUBLE), rtol=0.3, atol=0)
    assert states[-1].code.mean().item() == pytest.approx(3.0, abs=4 * 0.3 / 60**0.5)


def test_a_prior_without_a_density_is_refused_by_name() -> None:
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(1))
    with pytest.raises(InputError, match="needs a prior with a density; joint has none; add prior=gaussian"):
        run_chains([target], mala(0.1), doubles([1]), steps=2)


def test_half_precision_is_refused() -> None:
    """A step is accepted by the difference of two large logarithms, which half precision does not have."""
    start = torch.zeros(2, 5)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(InputError, match="use precision=float32 or float64"):
        mala(0.1).init(start, unit(5), Noise([0, 1]))
    with pytest.raises(InputError, match="sampler mala cannot test steps in half precision"):
        mala(0.1).init(start.bfloat16(), unit(5), Noise([0, 1], dtype=torch.bfloat16))


def test_random_views_are_refused() -> None:
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(1), Jitter())
    with pytest.raises(InputError, match=r"not random views"):
        run_chains([target], mala(0.1), doubles([1]), steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "step_size is 0.0; expected a finite number above 0"),
        ({"step_size": float("inf")}, "step_size is inf; expected a finite number"),
        ({"warmup": -1}, "warmup is -1; expected 0 or more"),
        ({"weight": -1.0}, "weight is -1.0; expected a number from 0 up"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mala(**{"step_size": 0.1, **options})
