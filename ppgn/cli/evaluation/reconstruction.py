"""`what=reconstruction`: photographs drawn again from their codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.cli.evaluation.data import reduce, side_of
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.metrics import bootstrap, fidelity
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN

BLURS = (32, 24, 16, 8)  # pixels a side that the originals go through
SHOWN = 8  # pictures in a row of a grid


def reconstruction(request: Request, report: Report) -> None:
    """How much of a photograph is left after E and G, beside photographs blurred through fewer pixels.

    Of 2n photographs every second is an original, those between are the other real ones that KID compares with.
    """
    model = request.load_model()
    if model.encoder is None:
        raise InputError(f"model {request.config.model} has no encoder, so it cannot reconstruct; give another model")
    pictures = request.data.spread(2 * request.n, side_of(model))
    originals, others = pictures[::2], pictures[1::2]
    features = fidelity.Features(request.batch_size).to(request.device)
    blurs = [pixels for pixels in BLURS if pixels < side_of(model)]
    with request.progress(4 + len(blurs), "set") as bar:
        of_originals, of_others = features(originals), features(others)
        codes = _encode(model, originals, request.batch_size)
        bar.update(2)

        def compare(name: str, pictures: Tensor) -> None:
            of_pictures = features(pictures)
            cosine = F.cosine_similarity(_encode(model, pictures, request.batch_size), codes)
            figures = {
                "frechet": Estimate(fidelity.frechet_distance(of_pictures, of_originals)),
                "kid": fidelity.kid(of_pictures, of_others),
                "psnr": bootstrap.mean(fidelity.psnr(pictures, originals)),
                "cosine": bootstrap.mean(cosine),
            }
            report.add(name, figures)
            bar.update()

        drawn = torch.cat([model.decode(part).cpu() for part in codes.split(request.batch_size)])
        drawn = reduce(drawn, side_of(model))
        compare("reconstruction", drawn)
        shown = torch.cat([originals[:: math.ceil(request.n / SHOWN)], drawn[:: math.ceil(request.n / SHOWN)]])
        images.write(request.out / "grid.png", images.grid(shown, columns=len(shown) // 2))
        real = {
            "frechet": Estimate(fidelity.frechet_distance(of_others, of_originals)),
            "kid": fidelity.kid(of_originals, of_others),
        }
        report.add("other real", real)
        bar.update()
        for pixels in blurs:
            compare(f"blur {pixels} px", blur(originals, pixels))


def _encode(model: PPGN, pictures: Tensor, batch_size: int) -> Tensor:
    """Codes of uint8 pictures, flat, (N, D) on the CPU."""
    parts = [model.encode(part.to(model.device).float() / 255).flatten(1).cpu() for part in pictures.split(batch_size)]
    return torch.cat(parts)


def blur(pictures: Tensor, pixels: int) -> Tensor:
    """uint8 pictures (N, 3, H, W) reduced to `pixels` a side (bicubic, antialiased) and enlarged again (bicubic)."""
    small = F.interpolate(pictures.float() / 255, (pixels, pixels), mode="bicubic", antialias=True)
    return images.to_uint8(F.interpolate(small.clamp(0, 1), pictures.shape[-2:], mode="bicubic"))
