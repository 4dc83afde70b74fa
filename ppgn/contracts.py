"""The contracts between the rooms.

A Plug & Play Generative Network samples codes h from p(h | y) ∝ p(h) · p(y | G(h)).
Each factor, and the chain that walks it, is replaceable; this file says what a replacement must offer.

Images are float RGB in [0, 1], (B, 3, H, W), at every boundary. Codes are (B, *code_shape).
"Per-sample" quantities are (B,). Rows of a batch never influence each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Shape = tuple[int, ...]


@runtime_checkable
class Generator(Protocol):
    """Draws images from codes: x = G(h). An `nn.Module`."""

    code_shape: Shape
    image_shape: Shape  # (3, H, W)

    def __call__(self, h: Tensor) -> Tensor:
        """(B, *code_shape) -> (B, 3, H, W)."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Reads a code off an image: h = E(x). An `nn.Module`."""

    code_shape: Shape

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, *code_shape)."""
        ...


@runtime_checkable
class Prior(Protocol):
    """Keeps codes natural through a denoiser R: R(h) − h is ∂log p(h)/∂h up to the noise variance.

    A prior with a density may also offer `log_prob(h) -> (B,)`, as the Gaussian does; no sampler here asks for it.
    """

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) and their images x = G(h) -> R(h) − h, (B, *code_shape)."""
        ...


@runtime_checkable
class Condition(Protocol):
    """Says what to draw: per-sample log p(y | x), differentiable with respect to x. An `nn.Module`."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        ...


class NoiseSource(Protocol):
    """Random numbers with one independent generator per sample and per stream."""

    seeds: tuple[int, ...]

    def normal(self, stream: str, shape: Shape) -> Tensor:
        """Standard normal draws, (B, *shape)."""
        ...

    def uniform(self, stream: str, shape: Shape) -> Tensor:
        """Draws from [0, 1), (B, *shape)."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What a target says about a batch of codes; every field has the batch as its first dimension."""

    image: Tensor  # (B, 3, H, W), G(h)
    log_condition: Tensor  # (B,), log p(y | G(h))
    condition_grad: Tensor  # (B, *code_shape), ∂ log p(y | G(h)) / ∂h
    prior_residual: Tensor  # (B, *code_shape), R(h) − h


class Target(Protocol):
    """All that a sampler knows of the networks: p(h | y) as an evaluation."""

    @property
    def code_shape(self) -> Shape:
        """The shape of one code."""
        ...

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
        """Evaluate codes (B, *code_shape). `noise` feeds random views in front of the condition, if there are any."""
        ...


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
    step_size: float
    accepted: Tensor | None = None


class Kernel(Protocol):
    """One step of a Markov chain, pure: nothing is kept outside `State` and `NoiseSource`."""

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        """Evaluate the start codes (B, *code_shape)."""
        ...

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        """Step number `i` of `steps` (a length for schedules; `i` may pass it)."""
        ...


@dataclass(frozen=True)
class Samples:
    """The outcome of a run, all tensors on the CPU.

    `images` are uint8 (N, 3, H, W), `codes` (N, *code_shape), `log_prob` (N,) is the condition's last log p(y | x).
    N is seeds × kept states (targets of a chain and thinning multiply it); `seeds`, `targets` and `steps` tell, per
    row, the seed, the index of the target in the chain and the step it was kept at. `failed` lists seeds whose chain
    met a non-finite number; their rows hold the last finite state.
    """

    images: Tensor
    codes: Tensor
    log_prob: Tensor
    seeds: tuple[int, ...]
    targets: tuple[int, ...]
    steps: tuple[int, ...]
    failed: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.seeds)

    @staticmethod
    def concatenate(parts: Sequence[Samples]) -> Samples:
        """Join runs over disjoint seeds."""
        joined: dict[str, Any] = {}
        for name in ("images", "codes", "log_prob"):
            joined[name] = torch.cat([getattr(part, name) for part in parts])
        for name in ("seeds", "targets", "steps", "failed"):
            joined[name] = tuple(value for part in parts for value in getattr(part, name))
        return Samples(**joined)
