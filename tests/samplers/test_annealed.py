from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppgn.contracts import Evaluation, Info, Jacobian, NoiseSource, Prior, State
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers import rows
from ppgn.samplers.annealed import CORRECTION, Annealed
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from tests.samplers.plain import annealed
from tests.samplers.quick import Quick
from tests.tiny import Likelihood, LinearGenerator, TinyCondition, TinyEncoder, TinyGenerator

DOUBLE = torch.float64


class Mixture(nn.Module):
    """Data of a Gaussian mixture in one dimension, with the denoiser in closed form."""

    sigmas = (1e-3, 100.0)
    mass, mean, std = (torch.tensor(values, dtype=DOUBLE) for values in ([0.3, 0.7], [-1.4, 0.6], [0.2, 0.3]))

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma

    def at(self, sigma: float) -> Prior:
        return Mixture(sigma)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        variance = self.std**2 + self.sigma**2
        shares = (self.mass.log() - 0.5 * (h - self.mean) ** 2 / variance - 0.5 * variance.log()).softmax(dim=1)
        means = self.mean + self.std**2 / variance * (h - self.mean)
        return (shares * means).sum(dim=1, keepdim=True) - h


def pixel(prior: nn.Module, y: float = 0.0, std: float = 1e6) -> Posterior:
    """Codes (1,) drawn as one pixel, three times; a likelihood of that pixel, by default of no consequence."""
    matrix = torch.ones(3, 1, dtype=DOUBLE)
    likelihood = Likelihood(torch.full((3, 1, 1), y, dtype=DOUBLE), std * 3**0.5)
    return Posterior(LinearGenerator(matrix, (3, 1, 1)), prior, likelihood)  # type: ignore[arg-type]


def doubles(seeds: Any) -> Noise:
    return Noise(seeds, dtype=DOUBLE)


@pytest.mark.parametrize(
    ("epsilon3", "corrections", "steps"),
    [(1.0, 0, 150), (0.5, 0, 150), (0.0, 0, 150), (1.0, 2, 75)],
)
def test_with_the_exact_denoiser_a_chain_draws_the_data(epsilon3: float, corrections: int, steps: int) -> None:
    n = 3000
    kernel = annealed(20.0, 0.005, epsilon2=0.0, epsilon3=epsilon3, corrections=corrections)
    codes = run_chains([pixel(Mixture())], kernel, Quick(n), steps=steps).codes[:, 0]
    second = codes > -0.5  # no code of either mode lies beyond
    assert second.double().mean().item() == pytest.approx(0.7, abs=4 * (0.21 / n) ** 0.5 + 0.01)
    for mode, part in ((0, codes[~second]), (1, codes[second])):
        mean, std, error = Mixture.mean[mode].item(), Mixture.std[mode].item(), 4 / len(part) ** 0.5
        assert part.mean().item() == pytest.approx(mean, abs=std * (error + 0.05))
        assert part.std().item() == pytest.approx(std, rel=error + 0.05)


@pytest.mark.parametrize("jacobian", ["gaussian", "exact"])
@pytest.mark.parametrize("epsilon3", [0.0, 1.0])
def test_a_gaussian_prior_and_likelihood_give_bayes_mean(jacobian: Jacobian, epsilon3: float) -> None:
    """The guided mean is exact for a linear likelihood that is much wider than a code given its noisy one."""
    n, y, std = 2000, 5.0, 3.0
    kernel = annealed(10.0, 0.01, epsilon3=epsilon3, jacobian=jacobian)
    codes = run_chains([pixel(Gaussian(), y, std)], kernel, Quick(n), steps=100).codes[:, 0]
    assert codes.mean().item() == pytest.approx(y / (1 + std**2), abs=4 / n**0.5 + 0.03)
    assert codes.std().item() == pytest.approx((std**2 / (1 + std**2)) ** 0.5, abs=4 / (2 * n) ** 0.5 + 0.03)


@pytest.mark.parametrize("normalize", ["none", "condition"])
@pytest.mark.parametrize("jacobian", ["gaussian", "exact"])
def test_a_condition_shifts_the_weight_of_the_modes_its_way(normalize: Any, jacobian: Jacobian) -> None:
    shares = []
    for y, epsilon2 in ((-1.4, 1.0), (0.6, 1.0), (0.0, 0.0)):
        kernel = annealed(20.0, 0.01, epsilon2=epsilon2, normalize=normalize, jacobian=jacobian)
        codes = run_chains([pixel(Mixture(), y, 0.7)], kernel, Quick(600), steps=60).codes
        shares.append((codes > -0.5).double().mean().item())
    low, high, without = shares
    assert low < without - 0.1
    assert high > without + 0.1


def step_by_hand(
    kernel: Annealed, h: Tensor, here: float, there: float, evaluation: Evaluation, draws: Tensor
) -> Tensor:
    """The ancestral step as its source writes it: the law of h at σ' given h at σ and the code D without noise."""
    gradient = evaluation.condition_grad
    if kernel.normalize == "condition":
        gradient = gradient / gradient.square().mean(dim=1, keepdim=True).sqrt() / (here * math.sqrt(1 + here**2))
    if kernel.fade:
        gradient = gradient * (1 - evaluation.log_condition.exp())[:, None]
    target = h + kernel.epsilon1 * evaluation.prior_residual + kernel.epsilon2 * here**2 * gradient
    ratio = there**2 / here**2
    mean = ratio * h + (1 - ratio) * target
    return mean + (there**2 * (1 - ratio)) ** 0.5 * draws


@pytest.mark.parametrize("options", [{}, {"normalize": "condition"}, {"fade": True, "epsilon1": 0.8, "epsilon2": 2.0}])
@pytest.mark.parametrize("jacobian", ["gaussian", "exact"])
def test_one_step_by_hand(options: dict[str, Any], jacobian: Jacobian) -> None:
    target, seeds = Posterior(TinyGenerator(), Gaussian(), TinyCondition(1)), (3, 4, 5)
    kernel, noise, again = annealed(4.0, 0.25, jacobian=jacobian, **options), doubles(seeds), doubles(seeds)
    start = torch.linspace(-1, 1, 15, dtype=DOUBLE).view(3, 5)
    state = kernel.init(start, target, noise)
    noisy = start + 4.0 * again.normal("proposal", (5,))
    for i, (here, there) in enumerate([(4.0, 1.0), (1.0, 0.25)]):
        state, info = kernel.step(state, target, noise, i, 2)
        evaluation = target.at(here, jacobian).evaluate(noisy)
        noisy = step_by_hand(kernel, noisy, here, there, evaluation, again.normal("proposal", (5,)))
        torch.testing.assert_close(state.memory["noisy"], noisy)
        denoised = noisy / (1 + there**2)
        torch.testing.assert_close(state.code, denoised)
        torch.testing.assert_close(state.evaluation.image, target.generator(denoised))
        assert info.step_size == pytest.approx(1 - there**2 / here**2)


def test_a_correction_is_a_langevin_step_at_the_new_level() -> None:
    target, seeds = Posterior(TinyGenerator(), Gaussian(), TinyCondition(1)), (3, 4)
    plain, corrected = (annealed(4.0, 0.5, corrections=count) for count in (0, 1))
    start = torch.ones(2, 5, dtype=DOUBLE)
    noise = doubles(seeds)
    before, _ = plain.step(plain.init(start, target, noise), target, noise, 0, 1)
    draws = noise.normal("proposal", (5,))
    noise = doubles(seeds)
    after, _ = corrected.step(corrected.init(start, target, noise), target, noise, 0, 1)
    h, evaluation = before.memory["noisy"], before.evaluation
    score = evaluation.prior_residual / 0.25 + evaluation.condition_grad
    step = CORRECTION * 0.25
    torch.testing.assert_close(after.memory["noisy"], h + step * score + (2 * step) ** 0.5 * draws)


def test_levels_fall_geometrically_and_every_state_is_the_image_of_its_code() -> None:
    levels: list[float] = []

    class Watched(Posterior):
        def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> Posterior:
            levels.append(sigma)
            return super().at(sigma, jacobian)

    target = Watched(TinyGenerator(), Gaussian(), TinyCondition(1))

    def callback(step: int, total: int, state: State, info: Info) -> None:
        assert torch.equal(state.evaluation.image, target.generator(state.code))

    samples = run_chains([target, target], annealed(8.0, 0.5), doubles([1, 2]), steps=4, callback=callback)
    assert levels == pytest.approx([0.5, 8, 4, 2, 1, 0.5, 8, 4, 2, 1, 0.5])
    assert (levels[1], levels[5]) == (8.0, 0.5)  # inside of what a prior knows, to the last bit
    images = (target.generator(samples.codes) * 255).round().to(torch.uint8)
    assert torch.equal(samples.images, images)


def walked(kernel: Annealed, steps: int, prior: Any = None) -> list[float]:
    """The noise levels that a chain passes."""
    levels: list[float] = []

    class Watched(Posterior):
        def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> Posterior:
            levels.append(sigma)
            return super().at(sigma, jacobian)

    run_chains([Watched(TinyGenerator(), prior or Gaussian(), TinyCondition(1))], kernel, doubles([1]), steps=steps)
    assert levels.pop(0) == levels[-1]  # the last level is asked for before the first step
    return levels


def test_levels_are_the_priors_own_unless_said_otherwise() -> None:
    class Narrow(Gaussian):
        sigmas = (0.5, 8.0)

    assert walked(Annealed(), 3) == pytest.approx(list(np.geomspace(10, 0.02, 4)))
    assert walked(Annealed(), 2, Narrow()) == pytest.approx([8, 2, 0.5])
    assert walked(Annealed(sigma_max=2.0), 2, Narrow()) == pytest.approx([2, 1, 0.5])


def test_the_grid_of_karras() -> None:
    """Karras et al. 2022, Eq. 5."""
    kernel, steps = Annealed(sigma_max=80.0, sigma_min=0.002, grid="karras"), 5
    expected = [(80 ** (1 / 7) + i / steps * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(steps + 1)]
    assert walked(kernel, steps) == pytest.approx(expected)


def test_a_list_of_levels_is_walked_as_it_is() -> None:
    levels = [9.0, 4.0, 3.0, 0.1]
    assert walked(Annealed(grid=levels), 3) == levels
    assert walked(Annealed(grid=levels), 6)[::2] == pytest.approx(levels)
    assert walked(Annealed(grid=levels), 6)[1] == pytest.approx(6)


@pytest.mark.parametrize("grid", ["geometric", "karras", [16.0, 8.0, 4.0, 2.0, 1.0]])
def test_the_last_share_of_the_way_is_the_end_of_the_whole(grid: Any) -> None:
    kernel = Annealed(sigma_max=16.0, sigma_min=1.0, grid=grid, steps=4)
    assert walked(kernel.last(0.5), 2) == pytest.approx(walked(kernel, 4)[2:])


def test_both_ends_are_checked_before_anything_is_drawn() -> None:
    target = Posterior(TinyGenerator(), Mixture(), TinyCondition(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"sigma is 0\.0001"):
        run_chains([target], Annealed(sigma_min=1e-4), doubles([1]), steps=50)
    assert target.generator.calls == 0  # type: ignore[attr-defined]


def test_the_generator_draws_once_per_step_and_once_more_per_target() -> None:
    target = Posterior(TinyGenerator(), Gaussian(), TinyCondition(1))
    assert isinstance(target.generator, TinyGenerator)
    run_chains([target, target], annealed(8.0, 0.5), doubles([1]), steps=5)
    assert target.generator.calls == 2 * (5 + 1)
    run_chains([target], annealed(8.0, 0.5, corrections=2), doubles([1]), steps=5)
    assert target.generator.calls == 12 + 3 * 5 + 1


def test_start_codes_get_the_variance_of_the_first_level() -> None:
    kernel, noise = annealed(3.0, 0.1), Quick(20000)
    state = kernel.init(noise.normal("init", (1,)), pixel(Gaussian()), noise)
    assert state.memory["noisy"].var().item() == pytest.approx(10.0, rel=4 * (2 / 20000) ** 0.5)


def test_fade_lets_go_where_the_wish_is_fulfilled() -> None:
    gradient = torch.tensor([[1.0, -2.0]], dtype=DOUBLE).expand(4, 2)
    log_p = torch.tensor([-1e3, math.log(0.25), 0.0, 1e-6], dtype=DOUBLE)
    torch.testing.assert_close(rows.fade(gradient, log_p)[:, 0], torch.tensor([1.0, 0.75, 0.0, 0.0], dtype=DOUBLE))


def test_what_is_no_probability_does_not_fade() -> None:
    gradient = torch.tensor([[1.0, -2.0]], dtype=DOUBLE)
    assert torch.equal(rows.fade(gradient, torch.tensor([5.0], dtype=DOUBLE)), gradient)


def test_a_row_that_is_not_finite_is_frozen_and_harms_no_other() -> None:
    class Breaking(Posterior):
        def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> Any:
            level = super().at(sigma, jacobian)
            return Broken(level) if sigma < 1 else level

    class Broken:
        def __init__(self, level: Posterior) -> None:
            self.level = level

        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            assert h.isfinite().all()
            evaluation = self.level.evaluate(h, noise)
            gradient = evaluation.condition_grad.clone()
            gradient[1, 0] = float("nan")
            return replace(evaluation, condition_grad=gradient)

    parts = TinyGenerator(), Gaussian(), TinyCondition(1)
    kernel = annealed(8.0, 0.1)
    clean = run_chains([Posterior(*parts)] * 2, kernel, doubles([1, 2, 3]), steps=6, thin=1)
    broken = run_chains([Breaking(*parts)] * 2, kernel, doubles([1, 2, 3]), steps=6, thin=1)
    assert broken.failed == (2,)
    others = [row for row, seed in enumerate(broken.seeds) if seed != 2]
    assert torch.equal(broken.codes[others], clean.codes[others])
    assert torch.equal(broken.images[others], clean.images[others])
    codes = broken.codes[12:24]
    assert torch.equal(codes[:2], clean.codes[12:14])  # levels 3.9 and 1.9 still, then 0.9
    assert torch.equal(codes[2:], codes[1:2].expand(10, -1))


def test_a_prior_without_noise_levels_is_refused_by_name() -> None:
    target = Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(1))
    with pytest.raises(InputError, match="annealed needs a noise-conditional prior; joint is none; add prior=gaussian"):
        run_chains([target], annealed(10.0, 0.1), doubles([1]), steps=2)


def test_a_level_that_the_prior_does_not_know_is_refused() -> None:
    with pytest.raises(InputError, match=r"sigma is 200; the prior mixture knows 0.001 to 100; set sampler.sigma_max"):
        run_chains([pixel(Mixture())], annealed(200.0, 0.1), doubles([1]), steps=2)


def test_a_prior_that_hides_its_derivative_is_refused_where_it_is_needed() -> None:
    class Hidden(Mixture):
        def at(self, sigma: float) -> Prior:
            return Hidden(sigma)

        @torch.no_grad()
        def residual(self, h: Tensor, x: Tensor) -> Tensor:
            return super().residual(h, x)

    run_chains([pixel(Hidden())], annealed(2.0, 0.1), doubles([1]), steps=2)
    with pytest.raises(InputError, match="jacobian=exact needs a prior that can be differentiated"):
        run_chains([pixel(Hidden())], annealed(2.0, 0.1, jacobian="exact"), doubles([1]), steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "drift"}, "normalize is 'drift'; expected one of: condition, none"),
        ({"jacobian": "full"}, "jacobian is 'full'; expected one of: gaussian, exact"),
        ({"epsilon2": -1.0}, "epsilon2 is -1.0; expected a number from 0 up"),
        ({"epsilon3": 1.5}, "epsilon3 is 1.5; expected 0 "),
        ({"sigma_min": 20.0}, "sigma_max is 10.0; expected a number above sigma_min=20"),
        ({"sigma_max": math.inf}, "sigma_max is inf; expected a finite number"),
        ({"grid": "linear"}, "grid is 'linear'; expected geometric, karras"),
        ({"grid": [1.0, 2.0]}, "expected geometric, karras, or levels that fall"),
        ({"sigma_min": 0.0}, "sigma_min is 0.0; expected"),
        ({"sigma_max": 1e308}, "sigma_max is 1e\\+308; expected"),
        ({"corrections": -1}, "corrections is -1; expected 0 or more"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        annealed(**{"sigma_max": 10.0, "sigma_min": 0.1, **options})
