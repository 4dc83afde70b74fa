"""MALA: Langevin steps with a Metropolis test, so that chains draw from p(h | y) itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppgn.contracts import Evaluation, Info, NoiseSource, State, Target
from ppgn.errors import InputError
from ppgn.samplers import rows
from ppgn.samplers.sampler import Sampler

ACCEPTANCE = 0.574  # the share of accepted steps that is best in many dimensions (Roberts & Rosenthal 1998)
GAMMA, T0, KAPPA = 0.05, 10, 0.75  # of dual averaging, as in Hoffman & Gelman 2014


@dataclass(frozen=True, kw_only=True)
class Mala(Sampler):
    """Proposes h' = h + ε ∇ + √(2ε) N(0, I), with ∇ = ∂log p(h)/∂h + weight · ∂log p(y | G(h))/∂h, and tests it.

    The target is p(h) · p(y | G(h))^weight. For the first `warmup` steps under every target each chain adapts its own ε
    by dual averaging towards `ACCEPTANCE`; their average is its ε from then on. Only what comes after is a draw.

    The state carries the evaluation of its code, so a step evaluates once, or twice if it is the first under another
    target. A proposal that is not finite is rejected; a row whose start is not finite stays there, and `alive` is False
    for it. The target must have a density and no random views. The test is exact up to rounding.

    Source: Roberts & Tweedie 1996; the adaptation is Hoffman & Gelman 2014 (arXiv 1111.4246), section 3.2.
    """

    priors: ClassVar[tuple[str, ...]] = ("mixture", "gaussian")

    step_size: float = 0.05  # ε at the start: a proposal goes by ε · gradient + √(2ε) · noise
    warmup: int = 500  # steps under every target in which each chain adapts its ε; what comes after are draws
    weight: float = 1.0  # power of p(y | x): more is more of the target
    steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("step_size", 0 < self.step_size < math.inf, "a finite number above 0")
        self._check("warmup", 0 <= self.warmup < self.steps, f"0 or more and less than steps={self.steps}")
        self._check("weight", 0 <= self.weight < math.inf, "a number from 0 up, and finite")

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Evaluate start codes (B, *code_shape). Raises `InputError` without a density, and in half precision."""
        if torch.is_autocast_enabled(h.device.type) or torch.finfo(h.dtype).bits < 32:
            raise InputError("sampler mala cannot test steps in half precision; use precision=float32 or float64")
        evaluation = target.evaluate(h, noise, density=True)
        log_step = h.new_full(h.shape[:1], math.log(self.step_size))
        alive = rows.finite(h, *rows.tensors(evaluation).values())
        return State(h, evaluation, alive, _adaptation(log_step))

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps`: propose along the carried evaluation, evaluate the proposal, accept or not."""
        done = i % steps
        if done == 0 and i > 0:  # evaluated anew under another target; the adaptation starts again
            evaluation = target.evaluate(state.code, noise, density=True)
            alive = state.alive & rows.finite(*rows.tensors(evaluation).values())
            evaluation = rows.select_evaluation(alive, evaluation, state.evaluation)
            state = State(state.code, evaluation, alive, _adaptation(state.memory["log_step"]))
        step = state.memory["log_step"].exp()
        gradient = self._gradient(state.evaluation)
        size = rows.per_row(step, gradient)
        proposal = state.code + size * gradient + (2 * size).sqrt() * noise.normal("proposal", state.code.shape[1:])
        possible = state.alive & rows.finite(proposal)
        proposal = rows.select(possible, proposal, state.code)  # the networks never see what is not finite
        evaluation = target.evaluate(proposal, noise, density=True)
        possible = possible & rows.finite(*rows.tensors(evaluation).values())

        log_ratio = self._log_density(evaluation) - self._log_density(state.evaluation)
        log_ratio = log_ratio + log_correction(state.code, gradient, proposal, self._gradient(evaluation), step)
        possible = possible & ~log_ratio.isnan()
        probability = torch.where(possible, log_ratio.clamp(max=0).exp(), torch.zeros_like(log_ratio))
        accepted = noise.uniform("accept", ()) < probability

        memory = _adapted(state.memory, probability, done + 1, self.warmup) if done < self.warmup else state.memory
        code = rows.select(accepted, proposal, state.code)
        evaluation = rows.select_evaluation(accepted, evaluation, state.evaluation)
        return State(code, evaluation, state.alive, memory), Info(rows.norm(gradient), step, accepted)

    def _log_density(self, evaluation: Evaluation) -> Tensor:
        assert evaluation.log_prior is not None  # asked for
        return evaluation.log_prior + self.weight * evaluation.log_condition

    def _gradient(self, evaluation: Evaluation) -> Tensor:
        assert evaluation.prior_score is not None  # asked for
        return evaluation.prior_score + self.weight * evaluation.condition_grad


def log_correction(h: Tensor, gradient: Tensor, proposal: Tensor, its_gradient: Tensor, step: Tensor) -> Tensor:
    """log q(h | h') − log q(h' | h), (B,), for q(· | h) = N(h + ε ∇(h), 2ε I).

    Codes h, h' and the gradients there, (B, *code_shape); ε is `step`, (B,). The squares of h' − h cancel.
    """
    along = ((proposal - h) * (gradient + its_gradient)).flatten(1).sum(dim=1)
    squares = (its_gradient.square() - gradient.square()).flatten(1).sum(dim=1)
    return -along / 2 - step * squares / 4


def _adaptation(log_step: Tensor) -> dict[str, Tensor]:
    """Dual averaging before its first step: log ε, its average, the mean error, and what log ε is drawn to, (B,)."""
    zeros = torch.zeros_like(log_step)
    return {"log_step": log_step, "average": zeros, "error": zeros, "centre": log_step + math.log(10)}


def _adapted(memory: Mapping[str, Tensor], probability: Tensor, t: int, warmup: int) -> dict[str, Tensor]:
    """Dual averaging after step `t` of `warmup`, counted from 1, accepted with `probability` (B,)."""
    share = 1 / (t + T0)
    error = (1 - share) * memory["error"] + share * (ACCEPTANCE - probability)
    log_step = memory["centre"] - t**0.5 / GAMMA * error
    average = t**-KAPPA * log_step + (1 - t**-KAPPA) * memory["average"]
    return {**memory, "log_step": average if t == warmup else log_step, "average": average, "error": error}
