"""State dicts that a user supplies: read without unpickling code, put in only where they fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.errors import InputError


def read(file: str | Path) -> Mapping[str, Tensor]:
    """The state dict in a file; nothing but tensors is ever unpickled. Raises `InputError` where there is none."""
    path = Path(str(file)).expanduser()
    if not path.is_file():
        raise InputError(f"weights '{path}': no such file; give the path of a .safetensors or .pth file")
    from timm.models import load_state_dict  # takes a second to import

    try:
        state: Mapping[str, Tensor] = load_state_dict(str(path), weights_only=True)
    except Exception as error:
        raise InputError(f"weights '{path}': not a state dict; give a .safetensors or .pth file of one") from error
    return state


class _Tensors:
    """What `torch.load` takes for a pickle module: knows tensors and ordered dictionaries, and nothing else."""

    class Unpickler(pickle.Unpickler):
        """Python's own, in C: PyTorch's, which is as careful, takes twice as long."""

        def find_class(self, module: str, name: str) -> Any:
            """What a file names. Raises `pickle.UnpicklingError` for anything else; storages do not come here."""
            if (module, name) in (("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2")):
                return super().find_class(module, name)
            raise pickle.UnpicklingError(f"it names {module}.{name}")

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """One object."""
        return _Tensors.Unpickler(file, **options).load()


def unpickled(path: str | Path) -> Mapping[str, Tensor]:
    """The state dict that `torch.save` wrote, on the CPU; no code is run. Raises `pickle.UnpicklingError` otherwise."""
    state: Mapping[str, Tensor] = torch.load(path, "cpu", _Tensors, weights_only=False)
    return state


def assign(body: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """`fill` the state dict of a module."""
    fill(body.state_dict(), state, problem)


@torch.no_grad()
def fill(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], problem: str) -> None:
    """Copy a state dict into the tensors `expected`; `problem` opens the error where it does not fit.

    Raises `InputError` for other names, shapes and kinds of numbers, and for values that are not finite.
    """
    for key in [*expected, *state]:
        if key not in state or key not in expected:
            raise InputError(f"{problem}: '{key}' is {'missing' if key in expected else 'not part of it'}")
        given, wanted = state[key], expected[key]
        if not isinstance(given, Tensor) or given.shape != wanted.shape:
            shapes = f"{tuple(getattr(given, 'shape', ()))}, expected {tuple(wanted.shape)}"
            raise InputError(f"{problem}: '{key}' has shape {shapes}")
        if given.is_floating_point() != wanted.is_floating_point():
            raise InputError(f"{problem}: '{key}' is of {given.dtype}, expected {wanted.dtype}")
        # A sum is finite where all are, unless they are huge, and takes a third of the time.
        if not given.is_floating_point():
            continue
        if not given.sum(dtype=torch.float32).isfinite() and not given.isfinite().all():
            raise InputError(f"{problem}: '{key}' holds numbers that are not finite (NaN or Inf)")
    for key, value in expected.items():
        value.copy_(state[key])
