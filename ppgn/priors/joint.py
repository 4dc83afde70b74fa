"""The prior a generator and an encoder make together: R(h) = E(G(h))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Joint(nn.Module):
    """What the encoder reads off the drawing, minus what was to be drawn: R(h) − h = E(G(h)) − h.

    It has no density; nothing is differentiated through the encoder here.
    Source: PPGN (arXiv 1612.00005), Joint and Noiseless Joint PPGN-h.
    """

    encoder: Any  # an nn.Module (contracts.Encoder)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def residual(self, h: Tensor, x: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Codes (B, *code_shape) and their images x = G(h), (B, 3, H, W) -> E(x) − h, (B, *code_shape).

        `features` are the encoder's layers of x, where a pass through its network has given them already.
        """
        with torch.no_grad():
            read: Tensor = self.encoder.project(self.encoder.flatten(features)) if features else self.encoder(x)
            return read - h
