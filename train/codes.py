"""What frozen networks say of photographs, computed once and kept, and the codes that G is trained on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppgn import files
from ppgn.errors import InputError
from ppgn.priors.mixture import Mixture
from train.data import Sizes
from train.shares import Share, gathered
from train.streams import Shards

FORMAT = "ppgn-features"
PROBES = 16  # images that are looked at again, to tell whether a file belongs to a network and a data set


class GivenCodes:
    """Codes of photographs with a little noise, and in the last rows of a batch codes as a sampler comes upon them.

    The latter have no photograph: they lie near the code of one, on the way between two, or are draws from the
    model's mixture prior. Raises `InputError` for shares that cannot be.
    """

    def __init__(
        self,
        share: float = 0.5,  # of each batch that has no photograph
        jitter: float = 0.1,  # the most noise on a photograph's code, its standard deviation uniform in [0, jitter]
        noise: float = 0.5,  # the most noise on a code near a photograph's
        pairs: float = 0.25,  # of the codes without a photograph, the share between two photographs'
        mixture: float = 0.0,  # and the share drawn from the prior "mixture" of `weights`; all others lie near one
    ) -> None:
        if not 0 <= share < 1 or min(pairs, mixture) < 0 or pairs + mixture > 1:
            given = f"training.codes: share={share}, pairs={pairs}, mixture={mixture}"
            raise InputError(f"{given}; expected share in [0, 1), the others from 0 and at most 1 together")
        self.share, self.jitter, self.noise, self.pairs, self.mixture = share, jitter, noise, pairs, mixture

    def photographs(self, batch: int) -> int:
        """How many of the first rows of a batch are codes of photographs, at least 1."""
        return max(1, batch - round(self.share * batch))

    def __call__(self, h: Tensor, count: int = 0, prior: Mixture | None = None) -> Tensor:
        """Codes of photographs (P, D) -> these with noise, and `count` codes without a photograph, (P + count, D)."""
        share = Share.own()
        given = h + self.jitter * share.like(torch.rand, h[:, :1]) * share.like(torch.randn, h)
        if count == 0:
            return given
        every = gathered(h)
        which = partial(torch.randint, len(every))
        one, other = (every[share.of(which, count, device=h.device)] for _ in range(2))
        z = share.like(torch.randn, one)
        u, kind, size = (share.like(torch.rand, one[:, :1]) for _ in range(3))
        drawn = one + self.noise * size.sqrt() * z
        between = (u * one + (1 - u) * other) / (u.square() + (1 - u).square()) ** 0.25
        drawn = torch.where(kind < self.pairs, between, drawn)
        if self.mixture:
            assert prior is not None
            weights = prior.log_weights.exp()
            rows = share.of(lambda shape: torch.multinomial(weights, shape[0], replacement=True), count)
            draws = prior.means[rows] + prior.variances[rows].sqrt() * z
            drawn = torch.where(kind >= 1 - self.mixture, draws, drawn)
        return torch.cat([given, drawn])


class CodeCache:
    """E(x) of photographs and of their mirror images in half precision, computed when one is met for the first time.

    Places are 2 · row + mirrored. They lie in a file in `folder`, named by a digest of the encoder and of the uint8
    photographs (N, 3, S, S), so that a run that goes on, or another one, finds them. Raises `InputError` where it
    cannot be written.
    """

    def __init__(self, encoder: nn.Module, images: Tensor | Sizes | Shards, dim: int, folder: Path) -> None:
        self.encoder, shape = encoder, (2 * len(images), dim)
        path = folder / f"codes-{digest(encoder, images)}.npy"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.exists() and np.load(path, mmap_mode="r").shape == shape):
                part = path.with_suffix(f".{os.getpid()}.part")
                np.lib.format.open_memmap(part, "w+", np.float16, shape)
                part.replace(path)
            stored = np.lib.format.open_memmap(path, "r+")
        except files.DAMAGED as error:
            raise InputError(f"cannot keep codes in '{path}' ({error}); make room, or set codes=null") from error
        self.codes = torch.from_numpy(stored)

    @torch.no_grad()
    def __call__(self, x: Tensor, places: Tensor) -> Tensor:
        """Photographs (B, 3, S, S) in [0, 1] and their places (B,) -> codes (B, D), rounded to half precision."""
        places = places.cpu()
        new = ~self.codes[places].any(dim=1)  # what is not known is 0
        if new.any():
            met = x[new.to(x.device)].contiguous(memory_format=torch.channels_last)
            self.codes[places[new]] = self.encoder(met).to(self.codes)
        return self.codes[places].to(x)


def digest(encoder: nn.Module, images: Tensor | Sizes | Shards, probes: int = 500) -> str:
    """A name for the codes of uint8 images (N, 3, S, S): of the encoder's weights, N, and `probes` of the images."""
    chosen = images[torch.linspace(0, len(images) - 1, min(probes, len(images))).long()]
    found = hashlib.sha256(str((encoder, tuple(images.shape))).encode())
    for value in (*encoder.state_dict().values(), chosen):
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


@torch.no_grad()
def looked(see: Callable[[Tensor], Tensor], images: Tensor, batch_size: int, said: str, every: int) -> Tensor:
    """What `see` says of uint8 images (N, 3, S, S), given in [0, 1] -> (N, ...) in half precision.

    Every `every` batches a line "`said`: n of N images" tells how far it is.
    """
    seen = []
    for number, part in enumerate(images.split(batch_size)):
        seen.append(see(part.float().contiguous(memory_format=torch.channels_last) / 255).half().cpu())
        if number % every == 0 and len(images) > PROBES:
            print(f"{said}: {number * batch_size:,} of {len(images):,} images", flush=True)
    return torch.cat(seen)


def cached(path: Path, probe: Tensor, asked: Any, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `make` gives, read from `path` where that holds them; else made, and written there.

    It does where `asked`, which must be JSON, is what it was then, and `probe`, a few features or codes computed anew,
    is what they were.
    """
    if path.exists():
        try:
            stored, metadata = files.load(path, FORMAT)
            known = stored.pop("probe").float()
            alike = known.shape == probe.shape and torch.allclose(known, probe.float(), atol=0.02)
            if alike and metadata["asked"] == asked:
                return stored
        except (InputError, KeyError):
            pass
        print(f"{path} is of another network or of other images; looking anew", flush=True)
    made = make()
    files.save(path, {**made, "probe": probe.half()}, FORMAT, asked=asked)
    return made
