"""The classical ways to fill holes, bool (N, H, W), in pictures uint8 (N, 3, H, W); the rest stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn.errors import library
from ppgn.media.blending import harmonic as laplace
from ppgn.media.images import to_uint8

RADIUS = 3  # pixels around a pixel that Telea's and the Navier-Stokes fill look at, as in OpenCV's tutorial


def fill(pictures: Tensor, holes: Tensor, name: str) -> Tensor:
    """Holes filled by the entry `name` of `FILLS`, uint8 (N, 3, H, W). `InputError` where its library is missing."""
    filled = [FILLS[name](picture, hole) for picture, hole in zip(pictures, holes, strict=True)]
    return torch.where(holes[:, None], torch.stack(filled), pictures)


def check_libraries() -> None:
    """Raise `InputError` unless every entry of `FILLS` can be used."""
    for name in ("cv2", "skimage.restoration"):
        _library(name)


def mean_colour(picture: Tensor, hole: Tensor) -> Tensor:
    """The mean of the known pixels everywhere in the hole."""
    colour = picture[:, ~hole].float().mean(dim=1).view(3, 1, 1)
    return to_uint8(torch.where(hole, colour / 255, picture.float() / 255))


def harmonic(picture: Tensor, hole: Tensor) -> Tensor:
    """The solution of Δu = 0: as smooth as the seam allows."""
    return to_uint8(laplace(picture.float() / 255, hole))


def biharmonic(picture: Tensor, hole: Tensor) -> Tensor:
    """The solution of Δ²u = 0, which continues slopes too (scikit-image; Damelin & Hoang 2018)."""
    pixels = picture.permute(1, 2, 0).numpy() / 255
    filled = _library("skimage.restoration").inpaint_biharmonic(pixels, hole.numpy(), channel_axis=-1)
    return to_uint8(torch.from_numpy(filled).permute(2, 0, 1))


def _opencv(method: str, picture: Tensor, hole: Tensor) -> Tensor:
    cv2 = _library("cv2")
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    filled = cv2.inpaint(pixels, hole.numpy().astype(np.uint8), RADIUS, getattr(cv2, method))
    return torch.from_numpy(filled).permute(2, 0, 1)


# Each maps one picture uint8 (3, H, W) and its hole (H, W) to the picture filled.
FILLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean_colour": mean_colour,
    "harmonic": harmonic,
    "biharmonic": biharmonic,
    "telea": partial(_opencv, "INPAINT_TELEA"),  # weighted means marched inwards from the seam (Telea 2004)
    "navier_stokes": partial(_opencv, "INPAINT_NS"),  # lines of equal brightness as a flow (Bertalmio et al. 2001)
}


def _library(name: str) -> Any:
    return library(name, f"this fill needs {name.split('.')[0]}", "inpaint")
