"""The benchmark's arithmetic on made-up seconds, and that what it calls the published loop is that loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ppgn.posterior import Posterior
from ppgn.priors.joint import Joint
from ppgn.samplers import published
from ppgn.samplers.chains import run_chains
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from tests.benchmarks.sampling import Chain, Released, compared, floor, interleaved, row
from tests.tiny import CODE_SHAPE, TinyCondition, TinyEncoder, TinyGenerator


def test_steps_run_in_turn_and_the_first_round_does_not_count() -> None:
    time, order = iter(itertools.count()), []
    steps = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    seconds = interleaved(steps, 3, lambda: float(next(time)))
    assert order == ["a", "b"] * 4
    assert seconds == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_ratios_are_of_neighbours() -> None:
    found = compared("ratio", [1.0, 4.0, 30.0], [1.0, 2.0, 10.0])
    assert found == {"ratio": 2.0, "ratio_quartiles": [1.5, 2.5]}
    assert compared("r", [3.0], [2.0], factor=8) == {"r": 12.0, "r_quartiles": [12.0, 12.0]}


def test_a_row_speaks_of_chain_steps() -> None:
    seconds = {"ppgn": [2.0], "floor": [1.6], "annealed": [1.5], "floor_annealed": [1.0], "released": [0.5]}
    found = row(8, seconds)
    assert found["batch"] == 8
    assert found["overhead_vs_floor"] == 1.25
    assert found["annealed_overhead_vs_floor"] == 1.5
    assert found["speedup_vs_released"] == 8 * 0.5 / 2.0
    assert found["ppgn_seconds"] == 2.0
    for missing in ("speedup_vs_released_caffenet", "shared_overhead_vs_floor", "speedup_of_compiled"):
        assert missing not in found
    more = {"shared": [1.4], "floor_shared": [1.0], "released_shared": [0.7], "compiled": [1.6]}
    found = row(8, seconds | more)
    assert found["shared_overhead_vs_floor"] == 1.4
    assert found["speedup_vs_released_shared"] == 8 * 0.7 / 1.4
    assert found["speedup_of_compiled"] == 2.0 / 1.6


def test_released_is_what_the_preset_transcribes() -> None:
    generator, encoder, condition = TinyGenerator(), TinyEncoder(), TinyCondition(1, truncated=True)
    sampler = published.Released(epsilon1=0.2, epsilon3=0.0, steps=9)
    start = torch.randn(1, *CODE_SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = Posterior(generator, Joint(encoder), condition)
    ours = run_chains([target], sampler, Noise([0], dtype=torch.float64), steps=9, init=start, thin=1)
    like = start.new_empty(0)
    loop = Released(generator, encoder, condition.logits, 1, start.numpy(), eps1=0.2, eps3=0.0, like=like)
    generator.calls = 0
    for expected in ours.codes:
        loop.step()
        np.testing.assert_allclose(loop.h[0], expected.numpy(), rtol=0, atol=1e-10)
    assert generator.calls == 2 * 9


@pytest.mark.parametrize("batch", [1, 3])
def test_a_chain_walks_and_the_floor_passes_every_network_once(batch: int) -> None:
    generator, encoder, condition = TinyGenerator(), TinyEncoder(), TinyCondition(1)
    like = torch.empty(0, dtype=torch.float64)
    chain = Chain(Langevin(), Posterior(generator, Joint(encoder), condition), batch, like)
    before, generator.calls = chain.state.code, 0
    chain.step()
    assert (generator.calls, chain.state.code.shape) == (1, (batch, *CODE_SHAPE))
    assert not torch.equal(chain.state.code, before)
    condition.forward = condition.logits
    floor(generator, condition, encoder, before, 1)
    assert generator.calls == 2
