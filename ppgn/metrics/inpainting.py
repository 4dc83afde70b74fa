"""The classical ways to fill a hole.

Pictures are uint8 (N, 3, H, W), holes bool (N, H, W). A fill leaves what is outside the hole as it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.media.blending import harmonic as laplace
from ppgn.media.images import to_uint8

RADIUS = 3  # pixels around a pixel that Telea's and the Navier-Stokes fill look at, as in OpenCV's tutorial

Filler = Callable[[Tensor, Tensor], Tensor]  # one picture uint8 (3, H, W) and its hole (H, W) -> the picture filled


def fill(pictures: Tensor, holes: Tensor, name: str) -> Tensor:
    """Every picture's hole filled by the entry `name` of `FILLS`, uint8 (N, 3, H, W).

    Raises `InputError` where its library is not installed.
    """
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


def telea(picture: Tensor, hole: Tensor) -> Tensor:
    """Weighted means marched inwards from the seam (OpenCV; Telea 2004)."""
    return _opencv(picture, hole, "INPAINT_TELEA")


def navier_stokes(picture: Tensor, hole: Tensor) -> Tensor:
    """Lines of equal brightness continued as a flow (OpenCV; Bertalmio et al. 2001)."""
    return _opencv(picture, hole, "INPAINT_NS")


FILLS: dict[str, Filler] = {fill.__name__: fill for fill in (mean_colour, harmonic, biharmonic, telea, navier_stokes)}


def _opencv(picture: Tensor, hole: Tensor, method: str) -> Tensor:
    cv2 = _library("cv2")
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    filled = cv2.inpaint(pixels, hole.numpy().astype(np.uint8), RADIUS, getattr(cv2, method))
    return torch.from_numpy(filled).permute(2, 0, 1)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"this fill needs {name.split('.')[0]}: pip install 'ppgn[inpaint]'") from error
