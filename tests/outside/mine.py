"""One of each kind, written against `ppgn.contracts` alone: what a user's own file may look like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppgn.contracts import Info, NoiseSource, State, Target


class Red(nn.Module):
    """A condition: log p = −5 · the lack of red."""

    def forward(self, x: Tensor) -> Tensor:
        return -5 * (1 - x[:, 0]).mean((1, 2))


class Level(nn.Module):
    """A condition with a target: be as bright as that."""

    def __init__(self, target: float | str) -> None:
        super().__init__()
        self.level = float(target)

    def forward(self, x: Tensor) -> Tensor:
        return -50 * (x.mean((1, 2, 3)) - self.level).square()


class StudentT(nn.Module):
    """A prior with a density: multivariate Student-t with `nu` degrees of freedom, on codes (D,)."""

    def __init__(self, code_shape: list[int], nu: float = 5.0) -> None:
        super().__init__()
        self.code_shape = tuple(code_shape)
        self.register_buffer("nu", torch.tensor(nu))

    def log_prob(self, h: Tensor) -> Tensor:
        nu = self.get_buffer("nu")
        return -(nu + h.shape[1]) / 2 * (1 + h.square().sum(1) / nu).log()

    def score(self, h: Tensor, x: Tensor) -> Tensor:
        nu = self.get_buffer("nu")
        return -(nu + h.shape[1]) * h / (nu + h.square().sum(1, keepdim=True))

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        return self.score(h, x)


class Ascent:
    """A kernel: plain gradient ascent on log p(h) + log p(y | G(h))."""

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate

    def init(self, h: Tensor, target: Target, noise: NoiseSource) -> State:
        return State(h, target.evaluate(h, noise), torch.ones(len(h), dtype=torch.bool, device=h.device))

    def step(self, state: State, target: Target, noise: NoiseSource, i: int, steps: int) -> tuple[State, Info]:
        drift = self.rate * (state.evaluation.condition_grad + state.evaluation.prior_residual)
        code = state.code + drift
        return State(code, target.evaluate(code, noise), state.alive), Info(drift.flatten(1).norm(dim=1), self.rate)


class Generator(nn.Module):
    """Codes (6,) -> images (3, 16, 16)."""

    code_shape = (6,)
    signal_shape = (3, 16, 16)

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        self.map = nn.Linear(6, 3 * 16 * 16)
        nn.init.normal_(self.map.weight, std=spread, generator=torch.Generator().manual_seed(0))

    def forward(self, h: Tensor) -> Tensor:
        x: Tensor = self.map(h)
        return x.sigmoid().view(-1, *self.signal_shape)


class Encoder(nn.Module):
    """Images (3, 16, 16) -> codes (6,)."""

    code_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3 * 16 * 16, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.map(x.flatten(1))
        return out


def darkness(x: Tensor) -> Tensor:
    """A score without a gradient: how many pixels are dark, (B,)."""
    return (x < 0.5).flatten(1).sum(1)


class Judge(nn.Module):
    """A classifier of three kinds of colour: red, green, blue."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * x.mean((2, 3))
