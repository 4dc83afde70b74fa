"""What filling a hole wants changed of a sampler, where its chains start, and what they follow: told here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ppgn import arguments, building
from ppgn.conditions.context import Context
from ppgn.errors import InputError, unknown
from ppgn.inpainting.anchoring import CANDIDATES
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import Mala
from ppgn.samplers.published import DGNAM, Released
from ppgn.samplers.sampler import Sampler

Fill = Literal["harmonic", "mean"]
# What differs from the defaults of a sampler, and of `Settings`; the published values of `Released`.
CHANGES: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {
    Anchored: ({"spread": 0.27}, {}),
    Annealed: ({"steps": 30, "sigma_max": 2.5, "epsilon2": 2.5}, {}),
    Langevin: ({"epsilon1": 0.02}, {"keep": 0.5, "weight": 10.0}),
    Mala: ({}, {"weight": 10.0}),
    DGNAM: ({}, {"weight": 10.0}),
    Released: ({"steps": 20, "lr_end": 1e-32, "epsilon3": 0.0}, {"fill": "mean"}),
}
UNASKED = 0.5  # epsilon2 of `Anchored` and `Annealed` where the known pixels alone pull, without a condition


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a hole is filled. A chain starts at keep · E(filled image) + √(1 − keep²) · z with z ~ N(0, I), that of
    `Anchored` at an anchor (`anchoring.Told`).

    Raises `InputError` for settings that cannot be.
    """

    sampler: Sampler
    keep: float = 1.0  # 1 is the published start; less lets seeds differ and the hole be less smooth than its fill
    fill: Fill = "harmonic"  # of the hole that E sees at the start
    likelihood: str = "gaussian"  # of the known pixels, or laplace
    std: float = 0.1
    weight: float = 1.0
    # draws from the prior that are put into the hole to find out what the rest says of the code (`imputation.observe`),
    # which the prior is then told; 0 for none, as always where the sampler is not annealed or codes are not whitened
    imputations: int = 32
    # drawings of a bank's photographs, with holes and without, from which `Anchored` learns the same (`regression`)
    drawings: int = 1024
    # share of these photographs that the rest of the picture leaves in effect, at least; 0 takes the rest at its word
    candidates: float = CANDIDATES

    def __post_init__(self) -> None:
        if self.fill not in get_args(Fill):
            raise unknown("fill", str(self.fill), get_args(Fill))
        for name in ("keep", "std", "weight", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name}={value} cannot be used; expected a number")
        if not 0 <= self.keep <= 1:
            raise InputError(f"keep={self.keep} cannot be used; expected 0 (start from noise) to 1 (from the photo)")
        if not 0 <= self.candidates <= 1:
            raise InputError(f"candidates={self.candidates} cannot be used; expected a share, 0 to 1")
        if type(self.imputations) is not int or self.imputations < 0 or self.imputations == 1:
            given = f"imputations={self.imputations} cannot be used"
            raise InputError(f"{given}; expected 0 for none, or a whole number from 2 on")
        arguments.whole("drawings", self.drawings, 2)
        self.pixels(torch.zeros(1, 3, 1, 1), torch.ones(1, 1, 1, 1))  # refuses what cannot be

    @staticmethod
    def of(
        sampler: Any = "anchored",
        *,
        asked: bool,
        steps: int | None = None,
        context: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Settings:
        """The settings that suit a sampler, but for those that are `given`; None leaves them as they are.

        sampler: a name, "module:Class" or a mapping is changed where it does not say otherwise itself; an object is
        taken as it is. asked: whether there is a condition. context: likelihood, std, weight, imputations, drawings,
        candidates.
        """
        kind: Any = type(sampler)
        if isinstance(sampler, str | Mapping):
            node = building.node("sampler", sampler)
            kind = building.locate(str(node["_target_"]))
            unasked = {"epsilon2": UNASKED} if kind in (Anchored, Annealed) and not asked else {}
            sampler = building.build({**CHANGES.get(kind, ({}, {}))[0], **unasked, **node})
        walker = Sampler.of(sampler)
        if steps is not None:
            walker = replace(walker, steps=arguments.whole("steps", steps))
        known = [item.name for item in fields(Settings)][3:]
        for key in context or {}:
            if key not in known:
                raise unknown("key", f"context.{key}", [f"context.{name}" for name in known])
        wanted = {key: value for key, value in {**given, **(context or {})}.items() if value is not None}
        return Settings(sampler=walker, **CHANGES.get(kind, ({}, {}))[1] | wanted)

    def pixels(self, image: Tensor, known: Tensor) -> Context:
        """The likelihood of the known pixels of image (N, 3, H, W), where `known` (N, 1, H, W) is 1."""
        return Context(image, known, std=self.std, likelihood=self.likelihood, weight=self.weight)

    def context(self, image: Tensor, known: Tensor) -> Context:
        """What chains follow: `pixels`, or as published where the sampler is."""
        return (Context.released if isinstance(self.sampler, Released) else self.pixels)(image, known)
