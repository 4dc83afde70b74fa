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
