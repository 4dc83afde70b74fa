"""The prior a generator and an encoder make together: R(h) = E(G(h))."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.contracts import Condition, Shape


class Joint(nn.Module):
    """What the encoder reads off the drawing, minus what was to be drawn: R(h) − h = E(G(h)) − h.

    The encoder is not registered as its submodule. It has no density, and the encoder is not differentiated.
    Source: PPGN (arXiv 1612.00005), Joint and Noiseless Joint PPGN-h.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple it is not registered

    @property
    def encoder(self) -> Any:
        """E (`contracts.Encoder`)."""
        return self._encoder[0]

    @property
    def code_shape(self) -> Shape:
        """The shape of one code."""
        return tuple(self.encoder.code_shape)

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their images x = G(h), (B, 3, H, W) -> E(x) − h, (B, *code_shape)."""
        return _minus(self.encoder, x, h)

    @contextmanager
    def beside(self, condition: Condition, x: Tensor) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """A `residual` that may use what the condition computes from x: see `contracts.Prior`."""
        beside = getattr(self.encoder, "beside", None)
        with nullcontext(self.encoder) if beside is None else beside(condition, x) as encode:
            yield lambda h, x: _minus(encode, x, h)


@torch.no_grad()
def _minus(encode: Callable[[Tensor], Tensor], x: Tensor, h: Tensor) -> Tensor:
    return encode(x) - h
