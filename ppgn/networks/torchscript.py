"""Any classifier saved as a TorchScript file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ppgn.errors import InputError
from ppgn.networks import labels as class_names
from ppgn.networks.network import Network, Preprocessing


def load(
    path: str | Path,
    labels: str | Path | Sequence[str] | None = None,
    size: int = 224,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Network:
    """Load a TorchScript classifier, (B, 3, size, size) -> logits (B, K).

    Images in [0, 1] are resized to `size` pixels a side, then (x − mean) / std; by default the file normalises for
    itself. `labels`: K class names, or the path of a .json or text file with them; without, classes are known by index.

    The file is code, which runs as it is loaded: trust its author.

    Raises `InputError` for a file that is no TorchScript or does not give (B, K), and for another number of labels.
    """
    network = Network(read(path), Preprocessing(size, mean=mean, std=std), name=Path(path).stem, copy=False)
    if network.classes and labels is not None:
        network.name_outputs(class_names.read(labels))
    return network


def read(path: str | Path) -> torch.jit.ScriptModule:
    """The module in a TorchScript file. Raises `InputError` for a file that is none."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"network '{path}': no such file; give the path of a TorchScript file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch would rather have torch.export
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
            return module
    except (RuntimeError, ValueError) as error:
        advice = "save one with torch.jit.trace(...).save; a state dict is weights=FILE beside network=file.py:net"
        raise InputError(f"network '{path}': not a TorchScript file; {advice}") from error
