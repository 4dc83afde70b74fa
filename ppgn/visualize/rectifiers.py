"""Other backward rules for rectifiers: those of the deconvolutional network and of guided backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ppgn.errors import InputError
from ppgn.networks.network import Network

M = TypeVar("M", bound=nn.Module)

# What ATen calls a nonlinearity that such a rule would have to replace; a clamp only where its lower bound is 0.
NONLINEAR = (
    *("relu", "hardtanh", "threshold", "clamp", "clamp_min", "leaky_relu", "_prelu_kernel", "rrelu_with_noise"),
    *("elu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "glu"),
)


class _Rule(torch.autograd.Function):
    """A rectifier from 0 to a ceiling that hands back positive signals alone, and `guided` only where it was open."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, guided: bool) -> Tensor:
        """min(max(x, 0), ceiling)."""
        ctx.guided = guided
        ctx.save_for_backward((x > 0) & (x < ceiling))
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        """max(signal, 0), by the gate if guided."""
        (gate,) = ctx.saved_tensors
        positive = signals[0].clamp_min(0)
        return positive * gate if ctx.guided else positive, None, None


class Rectifier(nn.Module):
    """min(max(x, 0), ceiling) with the backward rule "deconvnet" or "guided"."""

    def __init__(self, ceiling: float, rule: str) -> None:
        super().__init__()
        self.ceiling, self.rule = ceiling, rule

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        out: Tensor = _Rule.apply(x, self.ceiling, self.rule == "guided")
        return out


def ruled(network: M, rule: str, images: Tensor) -> M:
    """A copy of a network whose rectifiers follow a `rule`, and that computes what it computed.

    "deconvnet" hands back max(signal, 0), "guided" that where the rectifier was open (of ReLU6: between 0 and 6). All
    else, max-pooling among it, keeps its gradient. Modules `nn.ReLU`, `nn.ReLU6` and `nn.Hardtanh` from 0 are
    replaced; a pass of `images` (B, 3, H, W) finds out whether there are other nonlinearities.

    Raises `InputError` that names them, and where nothing could be replaced. Source: Zeiler and Fergus 2014 (arXiv
    1311.2901), section 2.1; Springenberg et al. 2015 (arXiv 1412.6806), figure 1.
    """
    copy, replaced = deepcopy(network), 0
    for module in [*copy.modules()]:
        for name, inner in module._modules.items():
            ceiling = _ceiling(inner)
            if ceiling is not None:
                module._modules[name] = Rectifier(ceiling, rule)
                replaced += 1
    others = nonlinearities(copy, images)
    advice = f"{rule} replaces modules nn.ReLU and nn.ReLU6; give such, or method=gradient, smoothgrad or occlusion"
    if others:
        listed = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        raise InputError(f"nonlinearities that cannot be replaced: {listed}; {advice}")
    if not replaced:
        raise InputError(f"the network has no rectifiers, so that this is its gradient; {advice}")
    return copy


def _ceiling(module: nn.Module | None) -> float | None:
    """Where a rectifier ends, None for anything else."""
    if isinstance(module, nn.ReLU):
        return float("inf")
    return float(module.max_val) if isinstance(module, nn.Hardtanh) and module.min_val == 0 else None


class StraightThrough(nn.Module):
    """max(x, 0) with the gradient of x."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x + (x.clamp_min(0) - x).detach()


def uncapped(network: Network, layer: str) -> Network:
    """The network whose `layer`, if it ends in a rectifier with a ceiling as ReLU6 has, ends in one without.

    At the ceiling the strongest activations are all alike and have no gradient. It is a copy; one that has nothing to
    lift, or where more than the ceiling would change, is given back as it is. The layers in front keep theirs.
    """
    return _ended(network, layer, lambda ceiling: None if ceiling == float("inf") else nn.ReLU())


def opened(network: Network, layer: str) -> Network:
    """As `uncapped`, and the `layer` has a gradient behind the rectifier at its end where that is shut, too.

    A network whose layer does not end in a module nn.ReLU or nn.ReLU6 is given back as it is.
    """
    return _ended(network, layer, lambda ceiling: StraightThrough())


@torch.no_grad()
def _ended(network: Network, layer: str, other: Callable[[float], nn.Module | None]) -> Network:
    """A copy whose `layer` ends in what `other` makes of its rectifier's ceiling, the same below the ceiling.

    The network itself where the layer ends in no rectifier, where `other` makes nothing, and where more would change.
    """
    if layer not in network.layers():
        return network
    copy = deepcopy(network)
    parent, _, name = layer.rpartition(".")
    outer = copy.body.get_submodule(parent)
    while len(outer.get_submodule(name)._modules):
        outer = outer.get_submodule(name)
        name = [*outer._modules][-1]
    ceiling = _ceiling(outer._modules[name])
    made = None if ceiling is None else other(ceiling)
    if made is None:
        return network
    outer._modules[name] = made
    noise = torch.rand(network.blank().shape, generator=torch.Generator().manual_seed(0))
    noise = noise.to(network.preprocessing.gain)
    mine, theirs = (each.features(noise, [layer])[layer] for each in (copy, network))
    return copy if torch.allclose(mine.clamp(max=ceiling), theirs, atol=1e-5) else network


@torch.no_grad()
def nonlinearities(network: nn.Module, images: Tensor) -> list[str]:
    """What runs in a pass of `images` and is one of `NONLINEAR`, but for `Rectifier`s, each as OPERATION in MODULE."""
    running: list[tuple[str, nn.Module]] = [("", network)]
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and name:
            continue  # those inside a script take no hooks

        def enter(module: nn.Module, _inputs: Any, name: str = name) -> None:
            running.append((name, module))

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            running.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    found: dict[str, None] = {}

    class Listen(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            name = func._schema.name.partition("::")[2].removesuffix("_")
            place, module = running[-1]
            bounded = name not in ("clamp", "clamp_min") or (len(args) > 1 and args[1] == 0)
            if name in NONLINEAR and bounded and not isinstance(module, Rectifier):
                found[f"{name} in {place.rpartition('network.body.')[2] or type(module).__name__}"] = None
            return func(*args, **(kwargs or {}))

    try:
        with Listen():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return list(found)
