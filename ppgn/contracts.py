"""The contracts between the rooms.

A Plug & Play Generative Network samples codes h from p(h | y) ∝ p(h) · p(y | G(h)).
Each factor, and the chain that walks it, is replaceable; this file says what a replacement must offer, and what it may.

Codes are (B, *code_shape), signals (B, *signal_shape); images are float RGB in [0, 1], (B, 3, H, W). "Per-sample"
quantities are (B,). Rows of a batch never influence each other. A class may lack what is called optional.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Shape = tuple[int, ...]
Jacobian = Literal["gaussian", "exact"]


@runtime_checkable
class Generator(Protocol):
    """Draws signals from codes: x = G(h). An `nn.Module`.

    Optional: `medium`, a `Medium`. Without it (3, H, W) and (1, H, W) are pictures, other shapes plain signals.
    """

    code_shape: Shape
    signal_shape: Shape  # (3, H, W) for images

    def __call__(self, h: Tensor) -> Tensor:
        """(B, *code_shape) -> (B, *signal_shape)."""


class Medium(Protocol):
    """What a generator's signals are: how to keep, show and write them.

    Optional: `heard`, True for what no picture shows, so that people want a file of every signal; `read(path)`, a file
    as `write` makes it -> what `store` gives of one signal, (*signal_shape).
    """

    name: str  # what to call them, as "pictures"
    views: bool  # whether a random view of a signal (shifted, magnified) is such a signal again

    def store(self, x: Tensor) -> Tensor:
        """Signals as G makes them, (N, *signal_shape) -> what a file keeps of them, as many rows."""

    def restore(self, stored: Tensor) -> Tensor:
        """What `store` gave -> signals with values as G makes them, (N, *signal_shape), floating point."""

    def show(self, stored: Tensor) -> Tensor:
        """What `store` gave -> pictures for people, uint8 (N, 3, H, W)."""

    def write(self, path: Path, stored: Tensor) -> Path:
        """Write one stored signal to `path`, which lacks its suffix -> the path with it."""


@runtime_checkable
class Encoder(Protocol):
    """Reads a code off a signal: h = E(x). An `nn.Module`.

    Optional: `beside(condition, x)`, a context manager. Its value encodes as the encoder does, but may use what the
    condition computed from x (B, *signal_shape) while the context was entered.
    """

    code_shape: Shape

    def __call__(self, x: Tensor) -> Tensor:
        """(B, *signal_shape) -> (B, *code_shape)."""


@runtime_checkable
class Prior(Protocol):
    """Keeps codes natural through a denoiser R: R(h) − h is ∂log p(h)/∂h up to the noise variance.

    Optional: `code_shape`, the shape of the codes it knows (None: any); `beside(condition, x)`, a context manager like
    `Encoder.beside`, whose value replaces `residual`.
    """

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their signals x = G(h) -> R(h) − h, (B, *code_shape)."""


@runtime_checkable
class DensityPrior(Prior, Protocol):
    """A prior whose log p(h) can be computed; what a Metropolis test asks for."""

    def log_prob(self, h: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> log p(h), (B,), up to one constant."""

    def score(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their signals x = G(h) -> the exact gradient of `log_prob`, (B, *code_shape)."""


@runtime_checkable
class NoiseConditionalPrior(Prior, Protocol):
    """A denoiser for every noise level σ: R(h, σ) = E[h0 | h0 + σ z = h], with h0 a code of the data and z ~ N(0, I).

    (R(h, σ) − h) / σ² is then the score of the data smoothed by σ. Its own `residual` is that of a default σ.
    Optional: `span`, the (low, high) of `sigmas` that annealing walks where nobody says otherwise, by default all.
    """

    sigmas: tuple[float, ...]  # (low, high): the noise levels it knows

    def at(self, sigma: float) -> Prior:
        """The prior at noise level `sigma`: its `residual(h, x)` is R(h, σ) − h, differentiable with respect to h.

        It sees codes alone: x may be empty, (B, 0), because G draws R(h, σ) only afterwards.
        """


@runtime_checkable
class AnchoringPrior(Prior, Protocol):
    """A prior that offers the codes of photographs, by row, as anchors: places to start from and to stay near."""

    def __len__(self) -> int:
        """How many photographs there are."""

    def codes(self, rows: Tensor) -> Tensor:
        """The codes of photographs, rows (N,) -> (N, *code_shape)."""

    def regression(self, network: str) -> Tensor | None:
        """What foretells the outputs of a network by its digest: a weight (K, D + 1) of codes and 1, or None."""

    def near(self, anchor: Tensor, spread: float) -> NoiseConditionalPrior:
        """The prior of codes near an anchor of each row's own, (B, *code_shape): N(anchor, spread² I)."""


@runtime_checkable
class Condition(Protocol):
    """Says what to draw: per-sample log p(y | x), differentiable with respect to x. An `nn.Module`.

    Optional: `name` of the target; `describe(x)`, a dictionary for each signal, with "log_prob" at least;
    `with_target(target)`, the same condition with another target; `with_gradient(kind)`, the same with the gradient
    "full" or "truncated" to the target's logit; `in_place`, True if it looks at pixels in their places, so that random
    views must not move them; `rare`, True if few photographs show what it asks for, so that chains had better not
    start from one.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """(B, *signal_shape) -> (B,)."""


class Known(Protocol):
    """What is known of signals before they are drawn, as the pixels around a hole."""

    def composite(self, x: Tensor) -> Tensor:
        """Signals (B, *signal_shape) -> the same with what is known put in."""

    def __call__(self, x: Tensor) -> Tensor:
        """Signals (B, *signal_shape) -> the log p that the known part has there, (B,)."""


class NoiseSource(Protocol):
    """Random numbers with one independent generator per sample and per stream."""

    seeds: tuple[int, ...]

    def normal(self, stream: str, shape: Shape) -> Tensor:
        """Standard normal draws, (B, *shape)."""

    def uniform(self, stream: str, shape: Shape) -> Tensor:
        """Draws from [0, 1), (B, *shape)."""


@dataclass(frozen=True)
class Evaluation:
    """What a target says about a batch of codes; every field has the batch as its first dimension."""

    image: Tensor  # (B, *signal_shape), G(h)
    log_condition: Tensor  # (B,), log p(y | G(h))
    condition_grad: Tensor  # (B, *code_shape), ∂ log p(y | G(h)) / ∂h
    prior_residual: Tensor  # (B, *code_shape), R(h) − h
    log_prior: Tensor | None = None  # (B,), log p(h), where the density was asked for
    prior_score: Tensor | None = None  # (B, *code_shape), ∂log p(h)/∂h, likewise


class Target(Protocol):
    """All that a sampler knows of the networks: p(h | y) as an evaluation.

    Optional: `sigmas`, the (low, high) noise levels that annealing walks where nobody says otherwise.
    """

    @property
    def code_shape(self) -> Shape:
        """The shape of one code."""

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
        """Evaluate codes (B, *code_shape). `noise` feeds random views in front of the condition, if there are any.

        density: fill `log_prior` and `prior_score` too. Raises `InputError` where p(h | y) has no density, or views
            make it random.
        """

    def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> Target:
        """The same target for codes with noise N(0, σ²) added, (B, *code_shape), which G is shown denoised.

        In an evaluation of noisy codes h, `prior_residual` is R(h, σ) − h, `image` is G(R(h, σ)), hence that of the
        code h + prior_residual, and `condition_grad` is ∂ log p(y | G(R(h, σ))) / ∂h. For that, `jacobian` "exact"
        differentiates the prior; "gaussian" takes ∂R/∂h as I / (1 + σ²), which it is where codes are N(0, I).
        Raises `InputError` where the prior is not noise-conditional, or σ is not one of its levels.
        """


@runtime_checkable
class AnchoredTarget(Target, Protocol):
    """A target that also knows photographs to start from."""

    def anchors(self) -> tuple[Tensor, Tensor]:
        """Codes of photographs b, (N, *code_shape), and the log p(y | G(b)) of each, (N,), the same at every call.

        Raises `InputError` where the prior has none.
        """

    def near(self, anchor: Tensor, spread: float) -> AnchoredTarget:
        """The same target with the prior N(anchor, spread² I), an anchor for each row, (B, *code_shape).

        Raises `InputError` where the prior has no anchors.
        """


@dataclass(frozen=True)
class State:
    """Where a batch of chains stands: the codes and everything already computed about them."""

    code: Tensor  # (B, *code_shape)
    evaluation: Evaluation
    alive: Tensor  # (B,) bool; False once a row met a non-finite number and was frozen
    memory: Mapping[str, Tensor] = field(default_factory=dict)  # what else a kernel carries, (B, ...) each


@dataclass(frozen=True)
class Info:
    """What a diagnostician wants to know of one step; per-sample tensors (B,)."""

    drift_norm: Tensor
    step_size: float | Tensor  # (B,) where every chain has its own
    accepted: Tensor | None = None


class Kernel(Protocol):
    """One step of a Markov chain, pure: nothing is kept outside `State` and `NoiseSource`.

    Optional, with the default in brackets (`samplers.sampler.Sampler` has all of them): `steps` under every target
    (100); `views`, `shift`, `zoom` of the random views in front of the condition (none); `class_gradient`, which
    `Condition.with_gradient` gets ("full"); `priors`, names of suitable ones, best first ("joint", "gaussian").
    """

    @abstractmethod
    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Evaluate the start codes (B, *code_shape)."""

    @abstractmethod
    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps` (a length for schedules; `i` may pass it)."""


@runtime_checkable
class Starting(Protocol):
    """A kernel that chooses its own start codes; those of others are drawn from N(0, I)."""

    def start(self, target: Target, noise: NoiseSource) -> Tensor:
        """The start codes, (B, *code_shape)."""


@dataclass(frozen=True)
class Samples:
    """The outcome of a run, all tensors on the CPU.

    `signals` (N, *signal_shape) are as G made them, `codes` (N, *code_shape), `log_prob` (N,) is the condition's last
    log p(y | x). N is seeds × kept states (targets of a chain and thinning multiply it); `seeds`, `targets` and `steps`
    tell, per row, the seed, the index of the target in the chain and the step it was kept at. `failed` lists seeds
    whose chain met a non-finite number; their rows hold the last finite state.
    """

    signals: Tensor
    codes: Tensor
    log_prob: Tensor
    seeds: tuple[int, ...]
    targets: tuple[int, ...]
    steps: tuple[int, ...]
    failed: tuple[int, ...] = ()

    @property
    def images(self) -> Tensor:
        """The signals as uint8 pictures (N, 3, H, W), where they are images in [0, 1]; uint8 ones stay as they are."""
        if self.signals.dtype == torch.uint8:
            return self.signals
        return (self.signals.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.seeds)

    @staticmethod
    def concatenate(parts: Sequence[Samples]) -> Samples:
        """Join runs over disjoint seeds."""
        joined: dict[str, Any] = {}
        for name in ("signals", "codes", "log_prob"):
            joined[name] = torch.cat([getattr(part, name) for part in parts])
        for name in ("seeds", "targets", "steps", "failed"):
            joined[name] = tuple(value for part in parts for value in getattr(part, name))
        return Samples(**joined)
