"""MALA-approx: Langevin steps without a Metropolis test, with a weight for each of the three terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from ppgn.contracts import Info, NoiseSource, State, Target
from ppgn.samplers import rows
from ppgn.samplers.sampler import Sampler

Normalize = Literal["drift", "condition", "none"]
Schedule = Literal["chain", "target"]
RESET_EPSILON1 = (1e-6, 1e-2)  # a restarted chain draws its epsilon1 uniformly from here, as released


@dataclass(frozen=True, kw_only=True)
class Langevin(Sampler):
    """Steps h' = h + lr · d with d = ε1 · (R(h) − h) + ε2 · ∂log p(y | G(h))/∂h + N(0, ε3²).

    The defaults are for whitened codes: all three terms in units of codes, cooled by lr. `schedule` matters for a chain
    through several targets: "target" starts the line from `lr` to `lr_end` anew with each of them; "chain" follows it
    on past `lr_end`, as released. `normalize` is always per sample, and a zero vector stays zero: "drift" divides d by
    its mean absolute value, so that the ε's weigh relative to each other and lr is the mean change per coordinate;
    "condition" scales the condition's gradient to unit root mean square, so that ε2 has the units of codes; "none"
    takes d as it is.

    The state carries the evaluation of its code, so a step evaluates once. A row whose new code or evaluation is not
    finite keeps its last state for good, and `alive` is False for it. Nothing here waits for the device.

    Source: PPGN (arXiv 1612.00005) Eq. 11; normalize="drift", clip and reset_every come from its released sampler,
    decay from that of DGN-AM (arXiv 1605.09304).
    """

    epsilon1: float = 0.1  # weight of the prior's residual R(h) − h: more is more natural
    epsilon2: float = 0.07  # weight of the condition's gradient, scaled to unit RMS: more is more of the target
    epsilon3: float = 0.02  # standard deviation of the noise: more is more diverse
    lr: float = 1.0  # step length at the start
    lr_end: float = 0.1  # and at the end, linear in between
    schedule: Schedule = "target"  # target: anew with every target of a chain; chain: once, and on past its end
    normalize: Normalize = "condition"  # what is scaled per sample: condition (its gradient), drift (the whole), none
    clip: tuple[float, float] | None = None  # [low, high] for every coordinate of a code
    decay: float = 1.0  # factor on a new code, behind clip
    reset_every: int | None = None  # restart from noise, with a random epsilon1, after so many steps
    fade: bool = False  # multiply the condition's term by 1 − p(y | x), so that it rests where its wish is fulfilled
    views: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip is not None:
            ordered = isinstance(self.clip, Sequence) and len(self.clip) == 2 and self.clip[0] < self.clip[1]
            self._check("clip", ordered, "[low, high] with low < high, or null for no bounds")
            object.__setattr__(self, "clip", tuple(map(float, self.clip)))  # a configuration file writes lists
        for name in ("epsilon1", "epsilon2", "epsilon3"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "a number from 0 up, and finite")
        self._check("decay", 0 < self.decay <= 1, "a number above 0, at most 1, which is none")
        self._check("reset_every", self.reset_every is None or self.reset_every >= 1, "1 or more, or null for none")

    def last(self, share: float) -> Self:
        """See `Sampler.last`."""
        return replace(super().last(share), lr=self.lr_end + (self.lr - self.lr_end) * share)

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Evaluate the start codes (B, *code_shape); as in the released sampler these are not clipped."""
        evaluation = target.evaluate(h, noise)
        memory = {} if self.reset_every is None else {"epsilon1": h.new_full(h.shape[:1], self.epsilon1)}
        return State(h, evaluation, alive=rows.finite(h, *rows.tensors(evaluation).values()), memory=memory)

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps`: move along the carried evaluation, then let `target` evaluate the new codes."""
        done = i % steps if self.schedule == "target" else i
        lr = self.lr + (self.lr_end - self.lr) * done / steps
        drift = self._drift(state, noise)
        moved = state.code + lr * (rows.unit_mean_abs(drift) if self.normalize == "drift" else drift)
        alive = state.alive & rows.finite(moved)
        code = self.decay * (moved if self.clip is None else moved.clamp(*self.clip))
        memory = state.memory
        if self.reset_every is not None and i > 0 and i % self.reset_every == 0:
            low, high = RESET_EPSILON1
            memory = {"epsilon1": low + (high - low) * noise.uniform("reset", ())}  # per sample, for the steps to come
            code = noise.normal("reset", code.shape[1:])
        code = rows.select(alive, code, state.code)  # the networks never see what is not finite
        evaluation = target.evaluate(code, noise)
        alive = alive & rows.finite(*rows.tensors(evaluation).values())
        code = rows.select(alive, code, state.code)
        evaluation = rows.select_evaluation(alive, evaluation, state.evaluation)
        return State(code, evaluation, alive, memory), Info(drift_norm=rows.norm(drift), step_size=lr)

    def _drift(self, state: State, noise: NoiseSource) -> Tensor:
        """The vector d before it is normalised as a whole, (B, *code_shape)."""
        residual, gradient = state.evaluation.prior_residual, state.evaluation.condition_grad
        if self.normalize == "condition":
            gradient = rows.unit_rms(gradient)
        if self.fade:
            gradient = rows.fade(gradient, state.evaluation.log_condition)
        own = state.memory.get("epsilon1")
        prior = (self.epsilon1 if own is None else rows.per_row(own, residual)) * residual
        drift = prior + self.epsilon2 * gradient
        return drift + self.epsilon3 * noise.normal("proposal", drift.shape[1:]) if self.epsilon3 > 0 else drift
