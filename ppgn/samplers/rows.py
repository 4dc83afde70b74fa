"""Per-sample arithmetic on batches: nothing here lets one row see another."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from ppgn.contracts import Evaluation

ROUNDING = 1e-3  # a log p may be so far above 0


def finite(*tensors: Tensor) -> Tensor:
    """(B,) bool: the rows in which every number of every tensor (B, ...) is finite."""
    rows = torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)
    zeros: Tensor = (rows * 0).sum(
        dim=1
    )  # of what is not finite NaN; PyTorch's own `isfinite` takes four times as long
    return zeros == 0


def select(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `mask` (B,) holds, rows of `old` elsewhere; (B, ...) all three."""
    return torch.where(per_row(mask, new), new, old)


def tensors(evaluation: Evaluation) -> dict[str, Tensor]:
    """The fields of an evaluation that are filled, by name."""
    values = {item.name: getattr(evaluation, item.name) for item in fields(Evaluation)}
    return {name: value for name, value in values.items() if value is not None}


def select_evaluation(mask: Tensor, new: Evaluation, old: Evaluation) -> Evaluation:
    """`select` on every field of two evaluations that have the same fields filled."""
    if (
        mask.device.type == "cpu" and mask.all()
    ):  # as in nearly all steps; of a GPU one would have to wait for the answer
        return new
    others = tensors(old)
    return Evaluation(**{name: select(mask, value, others[name]) for name, value in tensors(new).items()})


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """(B,) viewed so that it broadcasts over the rows of `like` (B, ...)."""
    return value.reshape(-1, *[1] * (like.dim() - 1))


def norm(x: Tensor) -> Tensor:
    """Euclidean length of every row, (B, ...) -> (B,)."""
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return length


def unit_mean_abs(x: Tensor) -> Tensor:
    """Every row divided by the mean of its absolute values; a zero row stays zero."""
    return _divided(x, x.abs().flatten(1).mean(dim=1))


def unit_rms(x: Tensor) -> Tensor:
    """Every row divided by its root mean square; a zero row stays zero."""
    return _divided(x, norm(x) / x[0].numel() ** 0.5)


def fade(gradient: Tensor, log_condition: Tensor) -> Tensor:
    """Every row of a condition's gradient times 1 − p, p = exp(log_condition), (B,).

    A row whose value is above 0, as activations and repelled classes have it, has no p: it keeps its gradient.
    """
    left = torch.where(log_condition > ROUNDING, 1.0, -torch.expm1(log_condition.clamp(max=0)))
    return gradient * per_row(left, gradient)


def _divided(x: Tensor, scale: Tensor) -> Tensor:
    return x / per_row(torch.where(scale > 0, scale, torch.ones_like(scale)), x)
