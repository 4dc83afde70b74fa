"""Networks through torch.compile: the same up to rounding, once a machine's compiler has worked on them."""

from __future__ import annotations

import copy
import os
import shutil
import sys
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.networks.network import Network

COMPILERS = {"darwin": "clang++", "win32": "cl"}  # that PyTorch looks for, g++ elsewhere
AnyCondition = TypeVar("AnyCondition")
Backend = str | Callable[..., Any]  # of torch.compile: a name, or a function of a graph and examples of its inputs


def check_compiler() -> None:
    """Raise `InputError` where there is no C++ compiler, which torch.compile needs on every device."""
    name = os.environ.get("CXX") or COMPILERS.get(sys.platform, "g++")
    if shutil.which(name) is None:
        raise InputError(f"compile=true needs a C++ compiler and there is no '{name}'; leave compile at false")


class Compiled(nn.Module):
    """A frozen network, tensors (B, ...) -> (B, ...), through torch.compile; on a GPU as CUDA graphs.

    The largest batch seen is compiled for. Smaller ones, such as the last of many seeds, pass the network as it is: to
    compile anew takes longer than they do. CUDA graphs write every result into the same memory: it must be cloned where
    it is to outlive the next pass. Not yet run on a GPU. `backend` is torch.compile's; raises `InputError` where there
    is no compiler.
    """

    def __init__(self, network: nn.Module, backend: Backend = "inductor") -> None:
        super().__init__()
        check_compiler()
        self.network = network
        self.rows = 0
        mode = "reduce-overhead" if on_gpu(network) else None
        self._run = torch.compile(network.forward, dynamic=False, mode=mode, backend=backend)
        for name in ("code_shape", "signal_shape"):  # of a generator
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of `x`, differentiable with respect to it."""
        if len(x) < self.rows:
            small: Tensor = self.network(x)
            return small
        self.rows = len(x)
        try:
            with torch._C.DisableTorchFunction():  # `AlikeInAnyBatch` would be compiled as well
                out: Tensor = self._run(x)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            cause = error.inner_exception
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            raise InputError(f"compile=true fails here ({reason}); leave compile at false") from error
        return out


def on_gpu(network: nn.Module) -> bool:
    """Whether a network's weights are on one."""
    return next(chain(network.parameters(), network.buffers()), torch.empty(0)).is_cuda


def compiled_classifiers(condition: AnyCondition, backend: Backend = "inductor") -> AnyCondition:
    """A condition, or a combination of some, with its classifiers' networks compiled: a copy that shares the weights.

    A network whose inner layers are read, as by units and captions, and a TorchScript stay as they are.
    """
    if not isinstance(condition, nn.Module):
        return condition
    networks = {module for module in condition.modules() if isinstance(module, Network)}
    inside = {network: {m for m in network.body.modules() if isinstance(m, Network)} for network in networks}
    asked = {module.network for module in condition.modules() if isinstance(module, Classifier)}
    read = set().union(*inside.values(), networks - asked)
    memo: dict[int, object] = {id(part): part for part in chain(condition.parameters(), condition.buffers())}
    memo |= {id(network.body): network.body for network in networks}
    for network in asked - read:
        if not inside[network] and not isinstance(network.body, torch.jit.ScriptModule):
            memo[id(network.body)] = Compiled(network.body, backend)
    return copy.deepcopy(condition, memo)
