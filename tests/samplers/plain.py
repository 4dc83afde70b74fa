"""Kernels by their formulas alone: nothing cooled, normalised or adapted unless a test says so."""

from __future__ import annotations

from typing import Any

from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.mala import Mala


def langevin(epsilon1: float, epsilon2: float, epsilon3: float, lr: float = 1.0, **more: Any) -> Langevin:
    terms = {"epsilon1": epsilon1, "epsilon2": epsilon2, "epsilon3": epsilon3, "lr": lr}
    return Langevin(**terms, **{"lr_end": 1.0, "schedule": "chain", "normalize": "none"} | more)


def annealed(sigma_max: float, sigma_min: float, **more: Any) -> Annealed:
    return Annealed(**{"sigma_max": sigma_max, "sigma_min": sigma_min, "epsilon2": 1.0, "normalize": "none"} | more)


def mala(step_size: float, **more: Any) -> Mala:
    return Mala(**{"step_size": step_size, "warmup": 0} | more)
