"""Convolutions whose rows do not depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SMALL = 20480  # values of a lone image, up to which PyTorch convolves it without oneDNN
MANY = 16  # images, from which on it convolves them pointwise with oneDNN even on one thread
BLOCK = 8  # images at a time where there are so many
CONVOLUTIONS = frozenset((torch.conv2d, F.conv2d, torch.conv_transpose2d, F.conv_transpose2d))


class AlikeInAnyBatch(TorchFunctionMode):
    """While it is entered, a CPU convolves an image in single precision alike in a batch of any size.

    PyTorch has two libraries for that and chooses by the number of images; they round differently, and a long chain
    amplifies what was rounded. Here a small lone image is convolved twice, where two would go the other way, and many
    images are convolved in blocks. It reaches Python code, not what runs inside a TorchScript.

    Source of the choice: `use_mkldnn` in PyTorch's ATen/native/Convolution.cpp.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every call of a PyTorch function comes by here."""
        kwargs = kwargs or {}
        if func not in CONVOLUTIONS:
            return func(*args, **kwargs)
        if len(args) > 1 and args[0].device.type == "cpu" and args[0].dim() == 4:
            x, weight, rest = args[0], args[1], args[2:]
            stride, groups = _setting(args, kwargs, 3, "stride"), _setting(args, kwargs, 6, "groups")
            if groups == 1 and max(weight.shape[-2:]) <= 3:  # others always go to oneDNN
                plain = weight.shape[-2:] == (1, 1) and stride in (1, (1, 1)) and torch.get_num_threads() == 1
                if len(x) == 1 and x.numel() <= SMALL and not plain:
                    return func(torch.cat([x, x]), weight, *rest, **kwargs)[:1]
                if len(x) >= MANY and plain:
                    return torch.cat([func(block, weight, *rest, **kwargs) for block in x.split(BLOCK)])
        return func(*args, **kwargs)


def _setting(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str) -> Any:
    """An argument of a convolution that is 1 unless given."""
    return args[place] if len(args) > place else kwargs.get(name, 1)
