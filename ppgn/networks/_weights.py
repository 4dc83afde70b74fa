"""State dicts that a user supplies: read without unpickling code, put in only where they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timm.models import load_state_dict
from torch import Tensor, nn

from ppgn.errors import InputError


def read(file: str | Path) -> Mapping[str, Tensor]:
    """The state dict in a file; nothing but tensors is ever unpickled. Raises `InputError` where there is none."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"weights '{path}': no such file; give the path of a .safetensors or .pth file")
    try:
        state: Mapping[str, Tensor] = load_state_dict(str(path), weights_only=True)
    except Exception as error:
        raise InputError(f"weights '{path}': not a state dict; give a .safetensors or .pth file of one") from error
    return state


def assign(body: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Load a state dict whose names and shapes must be those of `body`; `problem` opens the error if they are not."""
    expected = body.state_dict()
    for key in [*expected, *state]:
        if key not in state or key not in expected:
            raise InputError(f"{problem}: '{key}' is {'missing' if key in expected else 'not part of it'}")
        if state[key].shape != expected[key].shape:
            shapes = f"{tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
            raise InputError(f"{problem}: '{key}' has shape {shapes}")
    body.load_state_dict(state)
