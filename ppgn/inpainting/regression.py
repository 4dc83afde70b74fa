"""What a picture with a hole says of the code of the whole picture: a regression on drawings of a bank."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ppgn import anchors, files, paths
from ppgn.contracts import AnchoringPrior
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.blending import harmonic
from ppgn.model import PPGN
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.numerics.linear import linear

FORMAT = "ppgn-drawings-1"
RIDGE = 1000.0  # of the regression, in drawings
BATCH = 16  # drawings at a time
_DRAWINGS: WeakKeyDictionary[PPGN, dict[tuple[int, int], Drawings]] = WeakKeyDictionary()  # by bank and count


@dataclass(frozen=True)
class Regression:
    """The whole picture's code is N(s + W [s, 1], Σ), s that of the picture with its hole filled smoothly.

    weight: W, (D, D + 1). Σ is that of the drawings left out of the regression one by one: `variance`, (D,), along
    the columns of `directions`, (D, D).
    """

    weight: Tensor
    variance: Tensor
    directions: Tensor

    def mean(self, smooth: Tensor) -> Tensor:
        """Codes s, (B, D) -> those expected of the whole pictures, (B, D)."""
        return smooth + linear(smooth, self.weight[:, :-1], self.weight[:, -1])

    @staticmethod
    def fit(smooth: Tensor, whole: Tensor) -> Regression:
        """Fit to the codes s and those of the whole pictures, (N, D) both."""
        s, apart = smooth.double(), (whole - smooth).double()
        centred = s - s.mean(dim=0)
        inverse = torch.linalg.inv(centred.T @ centred + RIDGE * torch.eye(s.shape[1]).to(s))
        weight = inverse @ centred.T @ apart
        constant = apart.mean(dim=0) - s.mean(dim=0) @ weight
        leverage = ((centred @ inverse) * centred).sum(dim=1) + 1 / len(s)
        left = (apart - s @ weight - constant) / (1 - leverage)[:, None]
        joined = torch.cat([weight.T, constant[:, None]], dim=1)
        variance, directions = torch.linalg.eigh(left.T @ left / len(s))
        return Regression(joined.to(smooth), variance.to(smooth), directions.to(smooth))


class Drawings:
    """What a model draws of the first `count` photographs of a bank, and the codes of these drawings.

    The disk remembers them, in `paths.cache()`, under a digest of the weights; a file that cannot be read or written is
    as good as none.
    """

    def __init__(self, model: PPGN, bank: AnchoringPrior, count: int) -> None:
        parts = [cast(nn.Module, part) for part in (model.generator, model.encoder, bank)]
        path = paths.cache() / f"drawings-{anchors.digest(*parts)}-{count}.safetensors"
        saved: dict[str, Tensor] = {}
        with suppress(InputError):
            saved = files.load(path, FORMAT)[0] if path.is_file() else {}
        if saved.keys() != {"pictures", "codes"}:
            saved = _draw(model, bank, count)
            with suppress(InputError):
                files.save(path, saved, FORMAT)
        self.pictures, self.codes = saved["pictures"], saved["codes"]
        self._known: dict[bytes, Regression] = {}

    def regression(self, model: PPGN, hole: Tensor) -> Regression:
        """What pictures say of their codes that have this hole, (S, S'), bool. Remembered."""
        key = hole.cpu().numpy().tobytes()
        if key not in self._known:
            smooth = []
            for pictures in self.pictures.split(BATCH):
                drawn = pictures.to(model.device, model.dtype) / 255
                filled = harmonic(drawn.flatten(0, 1), hole.to(model.device)).view_as(drawn)
                smooth.append(_encode(model, filled))
            self._known[key] = Regression.fit(torch.cat(smooth), self.codes.to(smooth[0]))
        return self._known[key]


def drawings(model: PPGN, bank: AnchoringPrior, count: int) -> Drawings:
    """The same for as long as the model is in memory."""
    known, key = _DRAWINGS.setdefault(model, {}), (id(bank), count)
    if key not in known:
        known[key] = Drawings(model, bank, count)
    return known[key]


def _draw(model: PPGN, bank: AnchoringPrior, count: int) -> dict[str, Tensor]:
    pictures, codes = [], []
    for rows in torch.arange(min(count, len(bank))).split(BATCH):
        with _alike(model):
            pictures.append(images.to_uint8(model.decode(bank.codes(rows))).cpu())
        codes.append(_encode(model, pictures[-1] / 255).cpu())
    return {"pictures": torch.cat(pictures), "codes": torch.cat(codes)}


def _encode(model: PPGN, x: Tensor) -> Tensor:
    with _alike(model):
        return model.encode(x)


def _alike(model: PPGN) -> AlikeInAnyBatch | nullcontext[None]:
    return AlikeInAnyBatch() if model.device.type == "cpu" else nullcontext()
