"""Pixels as codes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ppgn.contracts import Shape


class Identity(nn.Module):
    """Makes pixel space the latent space: codes (B, 3, H, W) are images.

    With it the sampler of codes is PPGN-x, or activation maximisation where there is no prior.
    """

    def __init__(self, signal_shape: Sequence[int] = (3, 64, 64)) -> None:
        super().__init__()
        self.signal_shape: Shape = tuple(signal_shape)
        self.code_shape: Shape = self.signal_shape

    def forward(self, h: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same."""
        return h
