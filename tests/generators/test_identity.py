from __future__ import annotations

import torch

from ppgn.contracts import Generator
from ppgn.generators.identity import Identity


def test_codes_are_images() -> None:
    generator = Identity([3, 4, 6])
    assert generator.code_shape == generator.signal_shape == (3, 4, 6)
    assert isinstance(generator, Generator)
    h = torch.rand(2, 3, 4, 6, requires_grad=True)
    assert torch.equal(generator(h), h)
    generator(h).sum().backward()
    assert h.grad is not None
    assert torch.equal(h.grad, torch.ones_like(h))
    assert list(generator.parameters()) == []


def test_codes_may_be_less_a_mean_over_a_scale() -> None:
    generator, x = Identity([3, 4, 6], mean=0.4, scale=0.2), torch.rand(2, 3, 4, 6)
    assert torch.allclose(generator(torch.zeros(1, 3, 4, 6)), torch.tensor(0.4))
    assert torch.allclose(generator.code(torch.full((1,), 0.6)), torch.tensor(1.0))
    torch.testing.assert_close(generator(generator.code(x)), x)
