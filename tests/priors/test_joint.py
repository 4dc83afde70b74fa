from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ppgn.contracts import Condition
from ppgn.priors.joint import Joint
from tests.tiny import CODE_SHAPE, TinyCondition, TinyEncoder, TinyGenerator

CODES = torch.tensor([[0.5, -1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


def test_residual_reads_the_image_and_does_not_backpropagate() -> None:
    encoder, generator = TinyEncoder(), TinyGenerator()
    x = generator(CODES.clone().requires_grad_())
    residual = Joint(encoder).residual(CODES, x)
    assert torch.equal(residual, encoder(generator(CODES)) - CODES)
    assert residual.abs().max() > 0.1
    assert not residual.requires_grad


def test_it_refers_to_the_encoder_without_owning_it() -> None:
    encoder = TinyEncoder()
    prior = Joint(encoder)
    assert prior.encoder is encoder
    assert prior.code_shape == CODE_SHAPE
    assert list(prior.state_dict()) == list(prior.children()) == []


class Shortcut(TinyEncoder):
    """An encoder that takes what it is to say from beside the condition's pass."""

    @contextmanager
    def beside(self, condition: Condition, x: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        yield lambda _: torch.full((len(x), *CODE_SHAPE), 7.0)


def test_beside_a_condition_it_reads_what_the_encoder_reads() -> None:
    x = TinyGenerator()(CODES)
    with Joint(Shortcut()).beside(TinyCondition(0), x) as residual:
        assert torch.equal(residual(CODES, x), 7 - CODES)
    plain = Joint(TinyEncoder())
    with plain.beside(TinyCondition(0), x) as residual:
        assert torch.equal(residual(CODES, x), plain.residual(CODES, x))
