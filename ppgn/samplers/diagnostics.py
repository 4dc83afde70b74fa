"""Whether chains have forgotten where they began: acceptance, effective sample size and R-hat of recorded scalars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ppgn.contracts import Info, State
from ppgn.errors import InputError, library

LEAST = 4  # draws that a chain must have


@dataclass(frozen=True)
class Diagnosis:
    """Diagnostics of recorded chains; effective sample size (of all chains together) and R-hat by scalar's name.

    R-hat near 1 means that the chains, each cut in halves, agree; 1.01 is the usual bound.
    Source: Vehtari et al. 2021 (arXiv 1903.08008).
    """

    acceptance: float | None  # share of accepted steps; None for a kernel without a test
    ess: dict[str, float]
    r_hat: dict[str, float]


@dataclass
class Recorder:
    """A callback of `run_chains` that records scalars of every `every`-th state, for one batch of chains.

    The scalars are log_condition, log p(y | x); energy, −log p(h) − log p(y | x), if the target has a density; and
    `projections` fixed random directions of the code, projection0 and so on, standard normal for codes N(0, I).
    Nothing here waits for the device.
    """

    projections: int = 4
    every: int = 1
    _traces: dict[str, list[Tensor]] = field(default_factory=dict, repr=False)
    _accepted: list[Tensor] = field(default_factory=list, repr=False)
    _directions: Tensor | None = field(default=None, repr=False)

    def __call__(self, step: int, total: int, state: State, info: Info) -> None:
        """Record `state`, reached after `step` steps."""
        if step % self.every:
            return
        evaluation, code = state.evaluation, state.code.flatten(1)
        if self._directions is None:
            drawn = torch.randn(code.shape[1], self.projections, generator=torch.Generator().manual_seed(0))
            self._directions = (drawn / drawn.norm(dim=0)).to(code)
        values = {"log_condition": evaluation.log_condition}
        if evaluation.log_prior is not None:
            values["energy"] = -evaluation.log_prior - evaluation.log_condition
        values |= {f"projection{k}": value for k, value in enumerate((code @ self._directions).unbind(dim=1))}
        for name, value in values.items():
            self._traces.setdefault(name, []).append(value)
        if info.accepted is not None:
            self._accepted.append(info.accepted)

    def traces(self) -> dict[str, np.ndarray]:
        """The recorded scalars by name, (chains, draws) each, float64."""
        return {name: _array(values) for name, values in self._traces.items()}

    def diagnose(self, burn_in: int = 0) -> Diagnosis:
        """`diagnose` the recorded chains without their first `burn_in` recorded states."""
        ess, r_hat = diagnose({name: values[:, burn_in:] for name, values in self.traces().items()})
        accepted = self._accepted[burn_in:]
        return Diagnosis(float(_array(accepted).mean()) if accepted else None, ess, r_hat)


def diagnose(traces: Mapping[str, np.ndarray]) -> tuple[dict[str, float], dict[str, float]]:
    """Scalars by name, (chains, draws) each -> effective sample sizes and rank-normalised split R-hats, by name.

    A scalar that never changes has the R-hat nan. Raises `InputError` below `LEAST` draws, and without arviz-stats.
    """
    stats = library("arviz_stats.base", "diagnostics need arviz-stats; install it", "diagnostics").array_stats
    ess, r_hat = {}, {}
    for name, values in traces.items():
        if values.shape[1] < LEAST:
            raise InputError(f"diagnostics: {name} has {values.shape[1]} draws per chain; expected {LEAST} or more")
        ess[name] = float(stats.ess(values, chain_axis=0, draw_axis=1))
        constant = (values == values[0, 0]).all()
        r_hat[name] = float("nan") if constant else float(stats.rhat(values, chain_axis=0, draw_axis=1))
    return ess, r_hat


def _array(values: list[Tensor]) -> np.ndarray:
    """(B,) tensors, one per draw -> (B, draws), float64."""
    return np.asarray(torch.stack(values, dim=1).double().cpu())
