"""Photographs drawn again from their codes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn import folders
from ppgn.evaluation.sources import bar
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.media import images
from ppgn.metrics import bootstrap, fidelity
from ppgn.model import PPGN
from ppgn.photographs import square

BLURS = (32, 24, 16, 8)  # pixels a side that the originals go through
SHOWN = 8  # pictures in a row of a grid


@folders.results(*FILES)
def reconstruction(
    model: Any = "natural64",
    data: Any = None,
    **options: Any,  # the fields of Task
) -> Table:
    """How much of a photograph is left after E and G, beside photographs blurred through fewer pixels.

    Of 2n photographs every second is an original; those between are the other real ones that KID compares with. Rows
    have the Fréchet distance to the originals, KID to the others, PSNR in dB to the originals, and the cosine
    similarity of the code of what was drawn to the original's. Intervals are over pictures. Raises `InputError`.
    """
    task = Task(model=model, data=data, **options)
    table, drawer, size = task.begin("reconstruction"), task.load(encoder=True), task.batch_size
    pictures = task.spread(2 * task.n, drawer)
    originals, others = pictures[::2], pictures[1::2]
    features = task.features()
    side = originals.shape[-1]
    blurs = [pixels for pixels in BLURS if pixels < side]
    with bar(task.progress, 4 + len(blurs), "reconstruction", "set") as sets:
        of_originals, of_others = features(originals), features(others)
        codes = _encode(drawer, originals, size)
        sets.update(2)

        def compare(name: str, pictures: Tensor, grids: Any = None) -> None:
            of_pictures = features(pictures)
            cosine = F.cosine_similarity(_encode(drawer, pictures, size), codes)
            figures = {
                "frechet": fidelity.frechet(of_pictures, of_originals),
                "kid": fidelity.kid(of_pictures, of_others),
                "psnr": bootstrap.mean(fidelity.psnr(pictures, originals)),
                "cosine": bootstrap.mean(cosine),
            }
            table.add(name, figures, grids)
            sets.update()

        drawn = square(torch.cat([drawer.decode(part).cpu() for part in codes.split(size)]), side)
        shown = [some[:: math.ceil(task.n / SHOWN)] for some in (originals, drawn)]
        compare("reconstruction", drawn, {"grid": images.grid(torch.cat(shown), columns=len(shown[0]))})
        real = {"frechet": fidelity.frechet(of_others, of_originals), "kid": fidelity.kid(of_originals, of_others)}
        table.add("other real", real)
        sets.update()
        for pixels in blurs:
            compare(f"blur {pixels} px", blur(originals, pixels))
    return table


def _encode(model: PPGN, pictures: Tensor, batch_size: int) -> Tensor:
    """Codes of uint8 pictures, flat, (N, D) on the CPU."""
    parts = [model.encode(part.to(model.device).float() / 255).flatten(1).cpu() for part in pictures.split(batch_size)]
    return torch.cat(parts)


def blur(pictures: Tensor, pixels: int) -> Tensor:
    """uint8 pictures (N, 3, H, W) reduced to `pixels` a side (bicubic, antialiased) and enlarged again (bicubic)."""
    small = F.interpolate(pictures.float() / 255, (pixels, pixels), mode="bicubic", antialias=True)
    return images.to_uint8(F.interpolate(small.clamp(0, 1), pictures.shape[-2:], mode="bicubic"))
