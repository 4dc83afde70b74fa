"""Any classifier saved by torch.export, a .pt2 file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.errors import InputError, first_line
from ppgn.networks.network import Network


def load(path: str | Path) -> tuple[nn.Module, int | None, bool]:
    """The network of a .pt2 file, images (B, C, H, W) to logits (B, K), with its layers by their names.

    Beside it the side of the images that it takes, None for any, and whether it takes but one image at a time. Raises
    `InputError` for a file that is none, that takes more than one input, or a fixed number of several images.
    """
    path = Path(path).expanduser()
    if not path.is_file() or not zipfile.is_zipfile(path):
        reason = "not a file of torch.export" if path.exists() else "no such file"
        raise InputError(f"network '{path}': {reason}; save one with torch.export.save(torch.export.export(...), path)")
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # of many kinds, from one version to the next
        reason = first_line(error)
        raise InputError(f"network '{path}': not a file of torch.export that can be read here ({reason})") from error
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        takes = f"takes {len(names)} inputs ({', '.join(map(str, names))})"
        raise InputError(f"network '{path}' {takes}; wrap it in a module that takes images alone, and export that")
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == names[0])
    count, side = (size if type(size) is int else None for size in (shape[0], shape[-1]))
    if count not in (None, 1):
        dynamic = "dynamic_shapes=({0: torch.export.Dim.AUTO},)"
        raise InputError(f"network '{path}' takes exactly {count} images; export it with {dynamic}")
    try:
        module = torch.export.unflatten(program)
    except RuntimeError as error:
        reason = f"PyTorch {torch.__version__} cannot take its modules apart ({str(error).split('.')[0]})"
        raise InputError(f"network '{path}': {reason}; save it with torch.jit.save, or take a newer PyTorch") from error
    return module, side, count == 1


class Single(Network):
    """A network whose program takes one image: rows pass one after another."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> logits (B, K)."""
        return torch.cat([super(Single, self).forward(row) for row in x.split(1)])

    def features(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of inner `layers`, as `Network.features` gives them."""
        rows: list[Any] = [super(Single, self).features(row, layers) for row in x.split(1)]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
