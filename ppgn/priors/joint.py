"""The prior a generator and an encoder make together: R(h) = E(G(h))."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Joint(nn.Module):
    """What the encoder reads off the drawing, minus what was to be drawn: R(h) − h = E(G(h)) − h.

    It has no density; nothing is differentiated through the encoder here.
    Source: PPGN (arXiv 1612.00005), Joint and Noiseless Joint PPGN-h.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their images x = G(h), (B, 3, H, W) -> E(x) − h, (B, *code_shape)."""
        with torch.no_grad():
            read: Tensor = self.encoder(x)
            return read - h
