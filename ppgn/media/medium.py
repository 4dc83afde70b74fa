"""What a generator's signals are: pictures, or plain signals such as a waveform."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn import paths
from ppgn.contracts import Generator, Medium
from ppgn.errors import InputError
from ppgn.media import images

LINES = 4  # rows of a signal that are drawn as lines; more of them are a heat map
SIDE = 512  # pixels, at most, of a drawing
HEIGHT = 128  # of a line


def of(generator: Generator) -> Medium:
    """The generator's `medium`; without one (3, H, W) and (1, H, W) are `Pictures`, all else is `Signals`."""
    shape = getattr(generator, "signal_shape", None)
    if shape is None:
        raise InputError(f"{type(generator).__name__} is no generator: it has no signal_shape; give another model")
    pictures = len(shape) == 3 and shape[0] in (1, 3)
    return cast(Medium, getattr(generator, "medium", Pictures() if pictures else Signals()))


class Pictures:
    """Images (N, 3, H, W) or grey (N, 1, H, W) in [0, 1], kept as uint8, written as PNG."""

    name = "pictures"
    views = True

    def store(self, x: Tensor) -> Tensor:
        """Images -> uint8, rounded to the nearest of 256 levels and clipped; what is no number is 0."""
        return images.to_uint8(x.nan_to_num())

    def restore(self, stored: Tensor) -> Tensor:
        """uint8 -> float32 in [0, 1]."""
        return stored.float() / 255

    def show(self, stored: Tensor) -> Tensor:
        """uint8 (N, 3 or 1, H, W) -> uint8 (N, 3, H, W)."""
        return stored.expand(-1, 3, -1, -1)

    def write(self, path: Path, stored: Tensor) -> Path:
        """Write one image to `path`.png."""
        path = path.with_name(f"{path.name}.png")
        images.write(path, self.show(stored[None])[0])
        return path


class Signals:
    """Signals of any shape and scale, kept as they are, written as a .npy file.

    Shown as lines over the last dimension where the others count up to four rows, else as a heat map; each signal is
    scaled by itself.
    """

    name = "signals"
    views = False

    def store(self, x: Tensor) -> Tensor:
        """Signals as they are."""
        return x.detach()

    def restore(self, stored: Tensor) -> Tensor:
        """Signals as they were."""
        return stored

    def show(self, stored: Tensor) -> Tensor:
        """(N, *signal_shape) -> uint8 pictures (N, 3, H, W), whatever is no number as 0."""
        rows = stored.float().nan_to_num().reshape(len(stored), -1, stored.shape[-1])
        return _lines(rows) if rows.shape[1] <= LINES else _heat(rows)

    def write(self, path: Path, stored: Tensor) -> Path:
        """Write one signal to `path`.npy."""
        path, buffer = path.with_name(f"{path.name}.npy"), io.BytesIO()
        np.save(buffer, (stored.float() if stored.dtype == torch.bfloat16 else stored).cpu().numpy())
        paths.write(path, buffer.getvalue())
        return path


def _lines(rows: Tensor) -> Tensor:
    """(N, R, L) -> dark lines on white, one below the other, 0 in the middle of each."""
    width = min(rows.shape[-1], SIDE)
    high, low = F.adaptive_max_pool1d(rows, width), -F.adaptive_max_pool1d(-rows, width)
    high, low = high.maximum(F.pad(low, (1, -1), value=-math.inf)), low.minimum(F.pad(high, (1, -1), value=math.inf))
    peak = rows.abs().amax((1, 2), keepdim=True).clamp_min(1e-12)[..., None]
    place = torch.linspace(1, -1, HEIGHT, device=rows.device)[:, None]
    ink = (place <= high[:, :, None] / peak + 1.5 / HEIGHT) & (place >= low[:, :, None] / peak - 1.5 / HEIGHT)
    return torch.where(ink, 30, 255).to(torch.uint8).flatten(1, 2)[:, None].expand(-1, 3, -1, -1)


def _heat(rows: Tensor) -> Tensor:
    """(N, H, W) -> black for the least by way of red and yellow to white for the most."""
    size = [min(side, SIDE) for side in rows.shape[1:]]
    values = F.interpolate(rows[:, None], size, mode="area")
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    share = (values - low) / (high - low).clamp_min(1e-12)
    return images.to_uint8(torch.cat([3 * share, 3 * share - 1, 3 * share - 2], dim=1))
