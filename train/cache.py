"""What a frozen network says of a data set, computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgn import files
from ppgn.errors import InputError

FORMAT = "ppgn-features"
PROBES = 16  # images that are looked at again, to tell whether a file belongs to a network and a data set


def cached(path: Path, probe: Tensor, asked: Any, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `make` gives, read from `path` where that holds them; else made, and written there.

    It does where `asked`, which must be JSON, is what it was then, and `probe`, a few features or codes computed anew,
    is what they were.
    """
    if path.exists():
        try:
            stored, metadata = files.load(path, FORMAT)
            known = stored.pop("probe").float()
            alike = known.shape == probe.shape and torch.allclose(known, probe.float(), atol=0.02)
            if alike and metadata["asked"] == asked:
                return stored
        except (InputError, KeyError):
            pass
        print(f"{path} is of another network or of other images; looking anew", flush=True)
    made = make()
    files.save(path, {**made, "probe": probe.half()}, FORMAT, asked=asked)
    return made
