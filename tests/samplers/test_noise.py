from __future__ import annotations

import json

import pytest
import torch

from ppgn.errors import InputError
from ppgn.samplers.noise import BLOCK, Noise


def test_a_seed_draws_the_same_numbers_alone_and_in_any_batch() -> None:
    alone, batch = Noise([3]), Noise([7, 3, 0])
    for _ in range(2 * BLOCK + 1):
        assert torch.equal(alone.normal("proposal", (4,))[0], batch.normal("proposal", (4,))[1])
        assert torch.equal(alone.uniform("jitter", (2, 3))[0], batch.uniform("jitter", (2, 3))[1])


def test_drawing_from_one_stream_leaves_the_others_alone() -> None:
    quiet, busy = Noise([1, 2]), Noise([1, 2])
    for call in range(BLOCK + 3):
        if call % 2:
            busy.uniform("accept", ())
            busy.normal("proposal", (9,))
            busy.uniform("proposal", (4,))
        assert torch.equal(quiet.normal("proposal", (4,)), busy.normal("proposal", (4,)))


def test_dtype_does_not_change_the_numbers() -> None:
    single, double = Noise([5], dtype=torch.float32), Noise([5], dtype=torch.float64)
    a, b = single.normal("init", (6,)), double.normal("init", (6,))
    assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
    assert torch.equal(a.double(), b)


def test_streams_seeds_shapes_and_calls_all_differ() -> None:
    noise = Noise([0, 1, -1, 2**40])
    draws = [noise.normal(stream, (6,)) for stream in ("init", "proposal", "proposal")]
    draws.append(noise.normal("proposal", (2, 3)).flatten(1))
    assert len({tuple(row.tolist()) for draw in draws for row in draw}) == 16


def test_numbers_of_a_seed_stay_what_they_were() -> None:
    noise = Noise([0])
    normal = noise.normal("init", (3,)).tolist()[0]
    uniform = noise.uniform("jitter", (3,)).tolist()[0]
    assert normal == pytest.approx([-1.9929373, 0.4464832, -0.9096800], abs=1e-6)
    assert uniform == pytest.approx([0.0024795, 0.1512581, 0.9088784], abs=1e-6)


def test_distributions() -> None:
    noise = Noise(range(50), dtype=torch.float64)
    normal = torch.stack([noise.normal("proposal", (40,)) for _ in range(10)]).flatten()
    uniform = torch.stack([noise.uniform("accept", (40,)) for _ in range(10)]).flatten()
    n = len(normal)
    assert abs(normal.mean()) < 4 / n**0.5
    assert abs(normal.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((normal**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert abs(uniform.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5


@pytest.mark.parametrize("calls", [0, 1, BLOCK - 1, BLOCK, BLOCK + 5])
def test_state_survives_json_and_goes_on_where_it_stood(calls: int) -> None:
    first, second = Noise([4, 9]), Noise([4, 9])
    for _ in range(calls):
        first.normal("proposal", (3,))
        first.uniform("jitter", (2,))
    second.normal("proposal", (3,))  # whatever it did before is forgotten
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(BLOCK + 1):
        assert torch.equal(first.normal("proposal", (3,)), second.normal("proposal", (3,)))
        assert torch.equal(first.uniform("jitter", (2,)), second.uniform("jitter", (2,)))


def test_state_of_other_seeds_is_refused() -> None:
    with pytest.raises(InputError, match=r"of seeds \[1, 2\], this chain's are \[1, 3\]"):
        Noise([1, 3]).load_state_dict(Noise([1, 2]).state_dict())
