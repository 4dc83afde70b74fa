"""A look at a condition before the first step: whether a chain can follow it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ppgn.conditions.base import Plain
from ppgn.contracts import Condition, Shape
from ppgn.errors import InputError, first_line


def probe(
    condition: Condition, signal_shape: Shape, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> None:
    """Pass noise in [0, 1], two rows or as many as it asks for, (2, *signal_shape), forward and backward through it.

    Raises `InputError` where it is in training mode, fails, does not give finite numbers (B,), cannot be differentiated
    with respect to the images, or lets one row of a batch influence another.
    """
    body = condition.body if isinstance(condition, Plain) else condition
    name = getattr(body, "__name__", type(body).__name__)
    inner = condition.modules() if isinstance(condition, nn.Module) else ()
    if any(module.training and isinstance(module, _BatchNorm | _DropoutNd) for module in inner):
        raise InputError(f"condition {name} is in training mode; put it in evaluation mode first: .eval()")
    rows = max(2, int(getattr(condition, "rows", 2)))
    x = torch.rand((rows, *signal_shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x.to(device, dtype).requires_grad_(True)
    try:
        with torch.enable_grad():
            problem = _judge(condition(x), x)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"condition {name} fails on signals {tuple(x.shape)} ({first_line(error)})") from error
    if problem:
        raise InputError(f"condition {name} {problem}")


def _judge(value: object, x: Tensor) -> str:
    """What is wrong with a condition's value of x, "" where nothing is."""
    if not isinstance(value, Tensor) or value.shape != (len(x),) or not value.is_floating_point():
        given = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        logits = isinstance(value, Tensor) and value.dim() == 2
        hint = "; of a classifier, which class? add target=NAME" if logits else ""
        return f"gives {given} for signals {tuple(x.shape)}; expected log p(y | x), one number each, {(len(x),)}{hint}"
    if not bool(value.isfinite().all()):
        return f"gives {value.tolist()}; expected finite numbers, log p(y | x)"
    first = torch.autograd.grad(value[0], x, allow_unused=True)[0] if value.requires_grad else None
    if first is None:
        return "cannot be differentiated with respect to the images; remove detach, no_grad, argmax and the like"
    if not bool(first.isfinite().all()):
        return "has a gradient that is not finite"
    if bool((first[1:] != 0).any()):
        return "lets one row of a batch influence another; compute every row by itself"
    return ""
