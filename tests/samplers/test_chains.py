from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Evaluation, Info, NoiseSource, Samples, Shape, State
from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.joint import Joint
from ppgn.samplers.chains import run_chains, sample
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.views import Jitter
from tests.samplers.plain import langevin
from tests.tiny import TinyCondition, TinyEncoder, TinyGenerator

KERNEL = langevin(0.1, 0.3, 0.1, lr_end=0.5, normalize="condition")


class Counting:
    """Codes count the steps: with residual 1 and no noise, step t leaves every coordinate at start + t."""

    code_shape: Shape = (2,)

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
        image = (h[:, :1] / 255).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
        return Evaluation(image, h[:, 0] + self.offset, torch.zeros_like(h), torch.ones_like(h))


COUNT = langevin(1.0, 0.0, 0.0)
ZERO = torch.zeros(1, 2)


def fields(samples: Samples) -> dict[str, Any]:
    return {name: getattr(samples, name) for name in ("seeds", "targets", "steps", "failed")}


def assert_same(a: Samples, b: Samples) -> None:
    assert fields(a) == fields(b)
    for name in ("signals", "codes", "log_prob"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_by_default_the_last_state_of_every_target_is_kept() -> None:
    samples = run_chains([Counting(), Counting(100)], COUNT, Noise([7, 3]), steps=4, init=ZERO)
    assert fields(samples) == {"seeds": (7, 7, 3, 3), "targets": (0, 1, 0, 1), "steps": (4, 8, 4, 8), "failed": ()}
    assert samples.codes.tolist() == [[4, 4], [8, 8]] * 2
    assert samples.log_prob.tolist() == [4, 108] * 2
    assert samples.images.dtype == torch.uint8
    assert samples.images[:, 0, 0, 0].tolist() == [4, 8] * 2
    assert len(samples) == 4


@pytest.mark.parametrize(
    ("burn_in", "thin", "steps"),
    [
        (0, None, [6, 12]),
        (5, None, [6, 12]),
        (0, 1, list(range(1, 13))),
        (2, 2, [4, 6, 10, 12]),
        (1, 4, [5, 11]),
        (0, 6, [6, 12]),
    ],
)
def test_burn_in_and_thinning_count_anew_for_every_target(burn_in: int, thin: int | None, steps: list[int]) -> None:
    targets = [Counting(), Counting()]
    samples = run_chains(targets, COUNT, Noise([1]), steps=6, init=ZERO, burn_in=burn_in, thin=thin)
    assert list(samples.steps) == steps
    assert list(samples.targets) == [(step - 1) // 6 for step in steps]
    assert samples.codes[:, 0].tolist() == steps


def test_images_are_rounded_and_bounded() -> None:
    samples = run_chains([Counting()], COUNT, Noise([0, 1, 2]), steps=1, init=torch.tensor([[9.6], [-5], [400]]) + ZERO)
    assert samples.images[:, 0, 0, 0].tolist() == [11, 0, 255]
    assert samples.signals[:, 0, 0, 0].mul(255).tolist() == pytest.approx([10.6, -4, 401])  # as they were made


def test_callback_sees_every_step_and_can_stop() -> None:
    seen: list[tuple[int, int, float, float]] = []

    def callback(step: int, total: int, state: State, info: Info) -> bool:
        seen.append((step, total, float(state.code[0, 0]), info.step_size))
        return step == 5

    samples = run_chains([Counting(), Counting()], COUNT, Noise([1]), steps=4, init=ZERO, callback=callback)
    assert seen == [(step, 8, step, 1.0) for step in range(1, 6)]
    assert fields(samples) == {"seeds": (1, 1), "targets": (0, 1), "steps": (4, 5), "failed": ()}
    assert samples.codes[:, 0].tolist() == [4, 5]


def test_a_stop_at_a_kept_state_keeps_it_once() -> None:
    def stop(step: int, total: int, state: State, info: Info) -> bool:
        return step == 4

    samples = run_chains([Counting()], COUNT, Noise([1]), steps=8, thin=2, init=ZERO, callback=stop)
    assert samples.steps == (2, 4)


def test_chains_start_from_noise_or_from_given_codes() -> None:
    noise = Noise([4, 5], dtype=torch.float64)
    drawn = Noise([4, 5], dtype=torch.float64).normal("init", (2,))
    assert torch.equal(run_chains([Counting()], COUNT, noise, steps=3).codes, drawn + 3)
    init = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert run_chains([Counting()], COUNT, Noise([4, 5]), steps=3, init=init).codes.tolist() == [[4, 5], [6, 7]]
    assert init.tolist() == [[1, 2], [3, 4]]


def test_the_generator_draws_once_per_step(posterior: Posterior) -> None:
    generator = posterior.generator
    assert isinstance(generator, TinyGenerator)
    run_chains([posterior], KERNEL, Noise([1, 2], dtype=torch.float64), steps=7)
    assert generator.calls == 7 + 1
    run_chains([posterior, posterior, posterior], KERNEL, Noise([1, 2], dtype=torch.float64), steps=7)
    assert generator.calls == 8 + 3 * 7 + 1


def build(dtype: torch.dtype) -> list[Posterior]:
    generator, prior = TinyGenerator(dtype=dtype), Joint(TinyEncoder(dtype=dtype))
    return [Posterior(generator, prior, TinyCondition(k, dtype=dtype), Jitter(2, 0.1, 1.2)) for k in (1, 3)]


@pytest.mark.parametrize("normalize", ["drift", "condition", "none"])
@pytest.mark.parametrize("others", [(0, 1, 2), (8, 9, 1, 4, 5, 6, 7)])
def test_seed_3_is_the_same_alone_and_in_any_batch(normalize: Any, others: tuple[int, ...]) -> None:
    kernel = langevin(0.1, 0.3, 0.1, 0.5, lr_end=0.1, normalize=normalize, clip=(-2.0, 2.0), reset_every=10)
    for dtype in (torch.float64, torch.float32):
        targets = build(dtype)
        alone = run_chains(targets, kernel, Noise([3], dtype=dtype), steps=20, thin=1)
        batch = run_chains(targets, kernel, Noise([*others, 3], dtype=dtype), steps=20, thin=1)
        rows = [row for row, seed in enumerate(batch.seeds) if seed == 3]
        if dtype == torch.float64:
            assert torch.equal(batch.codes[rows], alone.codes)
            assert torch.equal(batch.log_prob[rows], alone.log_prob)
            assert torch.equal(batch.images[rows], alone.images)
        torch.testing.assert_close(batch.codes[rows], alone.codes, rtol=0, atol=1e-4)
        torch.testing.assert_close(batch.log_prob[rows], alone.log_prob, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_samples_do_not_depend_on_batch_size(posterior: Posterior, batch_size: int) -> None:
    seeds = (4, 0, 9, 2, 7)
    options: dict[str, Any] = {"steps": 6, "burn_in": 1, "thin": 2, "dtype": torch.float64}
    init = torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5)
    whole = run_chains([posterior], KERNEL, Noise(seeds, dtype=torch.float64), steps=6, burn_in=1, thin=2, init=init)
    handed: list[Samples] = []
    split = sample([posterior], KERNEL, seeds, batch_size=batch_size, on_batch=handed.append, init=init, **options)
    assert_same(split, whole)
    assert_same(Samples.concatenate(handed), whole)
    assert [len(set(part.seeds)) for part in handed] == [min(batch_size, 5 - k) for k in range(0, 5, batch_size)]


def test_sample_counts_steps_over_batches_and_a_stop_ends_one_batch() -> None:
    seen: list[tuple[int, int]] = []

    def callback(step: int, total: int, state: State, info: Info) -> bool:
        seen.append((step, total))
        return step == 5

    samples = sample([Counting()], COUNT, [1, 2, 3], steps=3, batch_size=1, init=ZERO, callback=callback)
    assert seen == [(step, 9) for step in (1, 2, 3, 4, 5, 7, 8, 9)]
    assert samples.steps == (3, 2, 3)


class InterruptedRunError(Exception):
    """Power cut."""


def interrupt_at(at: int) -> Any:
    def callback(step: int, total: int, state: State, info: Info) -> None:
        if step == at:
            raise InterruptedRunError

    return callback


RESUMED = langevin(0.1, 0.3, 0.1, 0.5, lr_end=0.1, normalize="condition", clip=(-2.0, 2.0), reset_every=6)


@pytest.mark.parametrize("save_every", [1, 3])
@pytest.mark.parametrize("at", [2, 6, 15, 16, 17, 20, 21, 37, 39])
def test_a_resumed_chain_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, at: int, save_every: int) -> None:
    targets, seeds = build(torch.float64), (3, 8)
    options: dict[str, Any] = {"steps": 20, "burn_in": 2, "thin": 3}
    whole = run_chains(targets, RESUMED, Noise(seeds, dtype=torch.float64), **options)
    checkpoint = tmp_path / "chains.safetensors"
    options |= {"checkpoint": checkpoint, "save_every": save_every}
    with pytest.raises(InterruptedRunError):
        run_chains(targets, RESUMED, Noise(seeds, dtype=torch.float64), callback=interrupt_at(at), **options)
    generator = targets[0].generator
    assert isinstance(generator, TinyGenerator)
    before = generator.calls
    resumed = run_chains(targets, RESUMED, Noise(seeds, dtype=torch.float64), **options)
    assert_same(resumed, whole)
    last_saved = (at - 1) // save_every * save_every
    assert generator.calls - before == 40 - last_saved + (last_saved == 0)
    assert [path.name for path in tmp_path.iterdir()] == ["chains.safetensors"]


def test_a_chain_stopped_early_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    targets, checkpoint = build(torch.float64), tmp_path / "chains.safetensors"
    whole = run_chains(targets, RESUMED, Noise([3], dtype=torch.float64), steps=9)
    stopped = run_chains(
        targets,
        RESUMED,
        Noise([3], dtype=torch.float64),
        steps=9,
        callback=lambda step, *_: step == 5,
        checkpoint=checkpoint,
    )
    assert stopped.steps == (5,)
    resumed = run_chains(targets, RESUMED, Noise([3], dtype=torch.float64), steps=9, checkpoint=checkpoint)
    assert_same(resumed, whole)


def test_every_batch_resumes_from_its_own_file_and_a_finished_one_is_not_walked_again(tmp_path: Path) -> None:
    targets, seeds = build(torch.float64), (3, 8, 5)
    options: dict[str, Any] = {"steps": 5, "batch_size": 2, "dtype": torch.float64, "save_every": 2}
    whole = sample(targets, RESUMED, seeds, **options)
    options["checkpoint"] = tmp_path / "chains.safetensors"
    with pytest.raises(InterruptedRunError):
        sample(targets, RESUMED, seeds, callback=interrupt_at(14), **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chains-0.safetensors", "chains-1.safetensors"]
    steps: list[int] = []
    resumed = sample(targets, RESUMED, seeds, callback=lambda step, *_: steps.append(step), **options)
    assert_same(resumed, whole)
    assert steps == [13, 14, 15, 16, 17, 18, 19, 20]


def test_frozen_rows_stay_frozen_over_a_resume(tmp_path: Path) -> None:
    class Breaking(Counting):
        def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
            evaluation = super().evaluate(h, noise)
            evaluation.log_condition[h[:, 0] == 13] = float("nan")
            return evaluation

    init = torch.tensor([[0.0, 0.0], [10.0, 10.0]])
    options: dict[str, Any] = {"steps": 6, "init": init, "checkpoint": tmp_path / "chains.safetensors", "save_every": 1}
    with pytest.raises(InterruptedRunError):
        run_chains([Breaking()], COUNT, Noise([1, 2]), callback=interrupt_at(5), **options)
    samples = run_chains([Breaking()], COUNT, Noise([1, 2]), **options)
    assert samples.failed == (2,)
    assert samples.codes[:, 0].tolist() == [6, 12]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 9}, "ran with steps=8, now steps=9 is asked for"),
        ({"thin": 2}, "ran with thin=None, now thin=2 is asked for"),
        ({"tag": "goldfish"}, "ran with tag=volcano, now tag=goldfish is asked for"),
        ({"seeds": [2]}, r"ran with seeds=\[1\], now seeds=\[2\] is asked for"),
        (
            {"kernel": langevin(0.5, 0.0, 0.0)},
            r"ran with kernel=Langevin\(.*epsilon1=1.0.* now kernel=Langevin\(.*epsilon1=0.5",
        ),
    ],
)
def test_chains_do_not_go_on_under_other_settings(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    def run(*, seeds: list[int], kernel: Langevin, **options: Any) -> None:
        run_chains([Counting()], kernel, Noise(seeds), init=ZERO, checkpoint=tmp_path / "chains", **options)

    options: dict[str, Any] = {"seeds": [1], "kernel": COUNT, "steps": 8, "tag": "volcano"}
    run(**options)
    with pytest.raises(InputError, match=message):
        run(**options | changed)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_file_that_holds_no_chains_is_refused(tmp_path: Path, content: bytes | None) -> None:
    from safetensors.torch import save

    checkpoint = tmp_path / "chains.safetensors"
    checkpoint.write_bytes(save({"code": torch.zeros(2)}) if content is None else content)
    with pytest.raises(InputError, match=r"chains\.safetensors'.*delete"):
        run_chains([Counting()], COUNT, Noise([1]), steps=2, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"burn_in": 4}, "burn_in is 4; expected 0 or more and less than steps=4"),
        ({"burn_in": 1, "thin": 4}, r"thin is 4; expected 1 to 3 \(steps - burn_in\)"),
        ({"thin": 0}, "thin is 0; expected 1 to 4"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"save_every": 0}, "save_every is 0; expected 1 or more"),
        ({"seeds": []}, "nothing to sample"),
        ({"targets": []}, "nothing to sample"),
        ({"init": torch.zeros(2, 2)}, "init holds 2 codes for 3 seeds; expected one for all or one per seed"),
        ({"init": torch.zeros(3, 7)}, r"init codes have the shape \(3, 7\); expected \(3, 2\) or \(1, 2\)"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"targets": [Counting()], "kernel": COUNT, "seeds": [1, 2, 3], "steps": 4} | options
    with pytest.raises(InputError, match=message):
        sample(**given)
