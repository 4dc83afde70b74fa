"""The chains that edit photographs: near the photo's code, towards what the condition asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppgn import arguments, building
from ppgn.contracts import Condition, Encoder, Generator, Samples
from ppgn.editing.canvas import Canvas
from ppgn.errors import InputError, unknown
from ppgn.model import PPGN
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.priors.bank import Near
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import Callback, run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler

# What differs from the defaults of `Annealed`.
CHANGES: dict[str, Any] = {
    "steps": 40,
    "sigma_max": 0.3,
    "sigma_min": 0.05,
    "epsilon2": 20.0,
    "epsilon3": 0.0,
    "fade": True,
    "views": 2,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How near a chain stays to its photo. Raises `InputError` for what is no number above 0, or from 0 on."""

    sampler: Sampler
    spread: float = 0.7  # standard deviation of codes around the photo's
    pixels: float = 2.0  # weight of −½ the mean over pixels of ((x − photo) / 0.1)²
    features: float = 1.0  # weight of −½ the mean over the encoder's features of (E(x) − E(photo))²

    def __post_init__(self) -> None:
        for name in ("spread", "pixels", "features"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (name, value) == ("spread", 0):
                expected = "a number above 0" if name == "spread" else "a number from 0 on"
                raise InputError(f"near.{name}={value} cannot be used; expected {expected}")

    @staticmethod
    def of(sampler: Any = "annealed", *, steps: int | None = None, near: Mapping[str, Any] | None = None) -> Settings:
        """The settings that are given; a sampler by name or mapping takes `CHANGES` where it does not say otherwise.

        An object is taken as it is. near: spread, pixels and features.
        """
        if isinstance(sampler, str | Mapping):
            node = building.node("sampler", sampler)
            changes = CHANGES if building.locate(str(node["_target_"])) is Annealed else {}
            sampler = building.build({**changes, **node})
        walker = Sampler.of(sampler)
        if steps is not None:
            walker = replace(walker, steps=arguments.whole("steps", steps))
        known = [item.name for item in fields(Settings)][1:]
        for key in near or {}:
            if key not in known:
                raise unknown("key", f"near.{key}", [f"near.{name}" for name in known])
        return Settings(sampler=walker, **{key: value for key, value in (near or {}).items() if value is not None})


class Change(nn.Module):
    """Draws images (B, 3, S, S') with the change between codes h and those of the images put in, in [0, 1]:

    x + share · (G(h) − G(E(x))), so that nothing is lost that the code leaves out.
    """

    def __init__(self, generator: Generator, image: Tensor, share: Tensor, code: Tensor) -> None:
        super().__init__()
        self.generator, self.image, self.share = generator, image, share
        self.code_shape, self.signal_shape = generator.code_shape, generator.signal_shape
        with torch.no_grad(), AlikeInAnyBatch():
            self.drawn = generator(code)

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> images (B, 3, S, S')."""
        return (self.image + self.share * (self.generator(h) - self.drawn)).clamp(0, 1)


class Closeness(nn.Module):
    """log p of images (B, 3, S, S') by how near they are to those given, in pixels and in the codes of an encoder."""

    STD = 0.1  # of pixels

    def __init__(self, image: Tensor, code: Tensor, encoder: Encoder, settings: Settings) -> None:
        super().__init__()
        self.image, self.code, self.encoder, self.settings = image, code, encoder, settings

    def composite(self, x: Tensor) -> Tensor:
        """The images themselves."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S') -> (B,)."""
        cost = self.settings.pixels * ((x - self.image) / self.STD).square().flatten(1).mean(1)
        if self.settings.features:
            cost = cost + self.settings.features * (self.encoder(x) - self.code).square().flatten(1).mean(1)
        return -0.5 * cost


def walk(
    model: PPGN,
    canvases: Sequence[Canvas],
    seeds: Sequence[int],
    condition: Condition,
    settings: Settings,
    callback: Callback | None = None,
) -> Samples:
    """One chain for each of the canvases, with the seed beside it, all in one batch.

    The samples' signals are the edited images at the generator's size, their codes those that the changes go to. Raises
    `InputError` for what the model, the sampler or the condition cannot do.
    """
    image = torch.stack([canvas.image for canvas in canvases]).to(model.device, model.dtype)
    share = torch.stack([canvas.small for canvas in canvases]).to(image)
    code = model.encode(image)
    (target,) = model.targets([condition], settings.sampler, Near(code, settings.spread))
    change = Change(cast(Generator, model.generator), image, share, code)
    target = replace(target, generator=change, context=Closeness(image, code, model.encoder, settings))
    noise = Noise(seeds, model.device, model.dtype)
    return run_chains([target], settings.sampler, noise, init=code, callback=callback)
