"""Pixels as codes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ppgn.contracts import Shape


class Identity(nn.Module):
    """Makes pixel space the latent space: codes (B, 3, H, W) are images, less `mean` over `scale`.

    With it the sampler of codes is PPGN-x, or activation maximisation where there is no prior.
    """

    def __init__(self, signal_shape: Sequence[int] = (3, 64, 64), *, mean: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.signal_shape: Shape = tuple(signal_shape)
        self.code_shape: Shape = self.signal_shape
        self.mean, self.scale = mean, scale

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, 3, H, W) -> mean + scale · h, alike; the codes themselves where these are 0 and 1."""
        return h if (self.mean, self.scale) == (0, 1) else self.mean + self.scale * h

    def code(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> their codes, alike."""
        return x if (self.mean, self.scale) == (0, 1) else (x - self.mean) / self.scale
