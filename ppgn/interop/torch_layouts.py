"""State dicts of other people's PyTorch ports of Caffe's networks, by Caffe's names.

upconvGAN of circuit_toolkit, pytorch-pretrained-upconvGAN and lucent keeps Caffe's names; XDream (Xiao & Kreiman 2020)
has its own, and no biases of up-convolutions, which are 0 in the published files. No number is changed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ppgn.errors import InputError, first_line
from ppgn.interop.source import Blob, Source

XDREAM = {f"fc{i}": f"defc{i}" for i in (5, 6, 7)} | {f"conv{i}": f"Rconv{i}" for i in (6, 7, 8)}
XDREAM |= {f"tconv{i}_0": f"deconv{i}" for i in (3, 4, 5)} | {f"tconv{i}_1": f"conv{i}_1" for i in (3, 4, 5)}
XDREAM |= {f"tconv{i}": f"deconv{i}" for i in (0, 1, 2)}


def load(path: str | Path) -> Source:
    """What a state dict in a .pt, .pth or .safetensors file holds. Nothing but tensors is unpickled.

    Raises `InputError` for a file that holds anything else, or code.
    """
    path = Path(path).expanduser()
    state = _read(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"'{path}' is no state dict; in PyTorch, torch.save(network.state_dict(), FILE) writes one")
    blobs: dict[str, Tensor] = {}
    for name, value in state.items():
        plain = re.sub(r"^((G|net|module|generator)\.)+", "", str(name)).replace(".1.", ".")
        blobs[plain] = value.detach()
    if "tconv0.weight" in blobs:
        renamed = {name: name.partition(".") for name in blobs}
        blobs = {f"{XDREAM.get(layer, layer)}.{rest}": blobs[name] for name, (layer, _, rest) in renamed.items()}
        for layer in XDREAM.values():
            if f"{layer}.weight" in blobs and layer not in ("defc5", "defc6", "defc7", "Rconv6", "Rconv7", "Rconv8"):
                blobs.setdefault(f"{layer}.bias", torch.zeros(blobs[f"{layer}.weight"].shape[1:2]))
    return Source(path, {name: _blob(value) for name, value in blobs.items()})


def _blob(value: Tensor) -> Blob:
    return Blob(tuple(value.shape), value.float)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"'{path}' is not a safetensors file ({error}); get it again") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive makes torch raise whatever there is
        if isinstance(error, pickle.UnpicklingError) and "nsupported" in str(error):
            advice = "where you trust it, torch.save(network.state_dict(), FILE) in PyTorch, then give that file"
            raise InputError(f"'{path}' holds code beside tensors, which is not run here; {advice}") from error
        raise InputError(f"'{path}' cannot be read as a PyTorch file ({first_line(error)}); get it again") from error
