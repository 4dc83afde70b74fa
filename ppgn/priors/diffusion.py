"""A trained diffusion or flow model's network as the prior of every noise level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ppgn.contracts import Shape
from ppgn.errors import check_known
from ppgn.numerics.linear import alike
from ppgn.priors.denoiser import EveryLevel

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
FLOW_STEPS = 1000  # timesteps of t from 0 to 1


class Diffusion(EveryLevel, nn.Module):
    """R(h, σ) of a network that was trained to undo a diffusion of codes; h = h0 + σ z, as everywhere here.

    `network(x, timestep=t, return_dict=False, …)[0]` predicts, in its first channels, for x and with a fixed
    conditioning inside:

    | prediction | x | t | R(h, σ) |
    |---|---|---|---|
    | epsilon | c h, c = 1 / √(1 + σ²) | where `alphas` say σ = √((1 − ᾱ_t) / ᾱ_t), interpolated in log σ | h − σ F |
    | v_prediction | as above | as above | c² h − σ c F |
    | sample | as above | as above | F |
    | flow | h / (1 + σ) | 1000 σ / (1 + σ) | (h − σ F) / (1 + σ) |

    given: what else the network takes, tensors of one row, dotted where they are nested. blank: the same without a
        wish; then F is F_blank + guidance · (F_given − F_blank). alphas: ᾱ_t, (T,), for all but flow.

    The network stays in its own precision, whatever that of its surroundings; everything around it is computed in that
    of h. Its weights are not those of a checkpoint. `residual` takes the noise level `sigma`.

    Source: Ho et al. 2020, Salimans & Ho 2022 (v), Lipman et al. 2023 (flow), Ho & Salimans 2022 (guidance).
    """

    restorable = True
    log_sigmas: Tensor  # (T,)

    def __init__(
        self,
        network: nn.Module,
        code_shape: Sequence[int],
        prediction: Prediction,
        alphas: Tensor | None = None,
        *,
        given: Mapping[str, Tensor] | None = None,
        blank: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
    ) -> None:
        super().__init__()
        check_known("prediction", prediction, get_args(Prediction))
        self.network = alike(network).eval().requires_grad_(False)
        self.code_shape: Shape = tuple(code_shape)
        self.prediction, self.guidance = prediction, float(guidance)
        if prediction == "flow":
            ends = torch.tensor([1.0, FLOW_STEPS - 1], dtype=torch.float64) / FLOW_STEPS
            sigmas = ends / (1 - ends)
        else:
            assert alphas is not None
            kept = alphas.double()[alphas > 0]
            sigmas = ((1 - kept) / kept).sqrt()
        self.register_buffer("log_sigmas", sigmas.log(), persistent=False)
        self.sigmas = (float(sigmas[0]), float(sigmas[-1]))
        self.sigma = min(max(0.5, self.sigmas[0]), self.sigmas[1])
        self.wishes = [dict(given or {})]
        if blank is not None and guidance != 1:
            self.wishes.append(dict(blank))
        for number, wish in enumerate(self.wishes):
            for name, value in wish.items():
                self.register_buffer(f"wish{number}_{name.replace('.', '_')}", value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Diffusion:
        """Moves to another device are made, changes of precision are not."""
        super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)
        return self

    def residual(self, h: Tensor, x: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> R(h, σ) − h at `sigma`; x is ignored."""
        return self.residual_at(h, x, self.sigma)

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Codes (B, *code_shape) with noise σ -> R(h, σ) − h, alike; x is ignored."""
        if self.prediction == "flow":
            share = sigma / (1 + sigma)
            return -share * (h + self._predict(h / (1 + sigma), FLOW_STEPS * share))
        c = (1 + sigma**2) ** -0.5
        found = self._predict(c * h, self._timestep(sigma))
        if self.prediction == "epsilon":
            return -sigma * found
        return found - h if self.prediction == "sample" else -sigma * c * (sigma * c * h + found)

    def _timestep(self, sigma: float) -> float:
        """t with σ_t = σ, interpolated in log σ."""
        table = self.log_sigmas
        wanted = torch.tensor(sigma, dtype=table.dtype, device=table.device).log()
        below = int((torch.searchsorted(table, wanted) - 1).clamp(0, len(table) - 2))
        place = (wanted - table[below]) / (table[below + 1] - table[below])
        return below + float(place.clamp(0, 1))

    def _predict(self, x: Tensor, t: float) -> Tensor:
        """What the network says of x at timestep t, guided, in the precision of x."""
        own = next(self.network.parameters()).dtype
        times = torch.full((len(x),), t, dtype=torch.float32, device=x.device)
        said: list[Tensor] = []
        for number, wish in enumerate(self.wishes):
            rows: dict[str, Any] = {}
            for name in wish:
                value = self.get_buffer(f"wish{number}_{name.replace('.', '_')}")
                outer, _, inner = name.rpartition(".")
                (rows.setdefault(outer, {}) if outer else rows)[inner] = value.expand(len(x), *value.shape[1:])
            out = self.network(x.to(own), timestep=times, return_dict=False, **rows)[0]
            said.append(out[:, : x.shape[1]].to(x.dtype))
        return said[0] if len(said) == 1 else said[1] + self.guidance * (said[0] - said[1])
