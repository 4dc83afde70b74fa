"""Convolutions, group norms and curves whose rows do not depend on how many there are."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, wrap_torch_function

SMALL = 20480  # values of a lone image, up to which PyTorch convolves it without oneDNN
TRANSPOSED = frozenset((torch.conv_transpose2d, F.conv_transpose2d))
LANES = 32  # values that the widest registers take at once; PyTorch computes what is left over by other code
CURVES = frozenset(
    (torch.sigmoid, Tensor.sigmoid, F.sigmoid, F.silu, F.softplus, F.gelu, F.mish, F.elu, F.selu, F.celu, F.logsigmoid)
)
NORMS = frozenset((torch.group_norm, F.group_norm))
CONVOLUTIONS = TRANSPOSED | {torch.conv2d, F.conv2d}
WATCHED = CURVES | NORMS | CONVOLUTIONS
_ENTERED = threading.local()  # how often the mode is entered, in "depth"
ONEDNN: bool = torch.backends.mkldnn.is_available()
PACKS = ONEDNN and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class AlikeInAnyBatch(TorchFunctionMode):
    """While it is entered, a CPU convolves and norms an image in single precision alike in a batch of any size.

    PyTorch has two libraries for that and chooses by the number of images; they round differently, and a long chain
    amplifies the difference. Here a pointwise convolution on one thread, or of small images, is a matrix product for
    every image, without moving memory, which is also faster; any other convolution of small images is given to the
    library of larger batches, which a lone one reaches as two copies of it where the convolution is strided. A group
    norm on several threads sees images contiguous, since it adds up others in an order that depends on how they lie in
    memory, and a lone one may lie otherwise than a batch. A curve (sigmoid, SiLU, ...) is computed of so many rows that
    the registers are full. The mode reaches Python code, not the inside of a TorchScript.

    Source of the choice: `use_mkldnn` in PyTorch's ATen/native/Convolution.cpp.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """PyTorch calls this in place of every function of its own."""
        kwargs = kwargs or {}
        if func not in WATCHED:  # most, and a chain asks a thousand times a step
            return func(*args, **kwargs)
        if func in CURVES and args and args[0].device.type == "cpu" and args[0].numel() % LANES:
            return _curve(func, *args, **kwargs)
        if func in NORMS and args[0].device.type == "cpu" and torch.get_num_threads() > 1:
            return func(args[0].contiguous(), *args[1:], **kwargs)
        if func not in CONVOLUTIONS or len(args) < 2 or args[0].device.type != "cpu":
            return func(*args, **kwargs)
        return _convolved(func, args, kwargs)

    def __enter__(self) -> AlikeInAnyBatch:
        _ENTERED.depth = getattr(_ENTERED, "depth", 0) + 1
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _ENTERED.depth -= 1


def conv2d(x: Tensor, *args: Any) -> Tensor:
    """`F.conv2d`; while the mode is entered alike in any batch, also where it does not reach. Arguments by position."""
    found: Tensor = _convolved(F.conv2d, (x, *args), {}) if alike(x) else F.conv2d(x, *args)
    return found


def alike(x: Tensor) -> bool:
    """Whether the mode is entered, and x is where it matters."""
    return getattr(_ENTERED, "depth", 0) > 0 and x.device.type == "cpu"


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` by way of `conv2d`."""

    counted = False  # by a digest of a network: it computes what PyTorch's does

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        if torch.compiler.is_compiling():
            return super().forward(x)
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


@wrap_torch_function(lambda network, x: (x,))
def whole(network: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    """network(x), into which the mode does not reach: a network that rounds alike by itself is spared its questions."""
    return network(x)


def _convolved(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    x, weight, rest = args[0], args[1], args[2:]
    if x.dim() != 4 or max(weight.shape[-2:]) > 3 or _setting(args, kwargs, 6, "groups", 1) != 1:
        return func(*args, **kwargs)  # by oneDNN, always
    bias = _setting(args, kwargs, 2, "bias", None)
    stride, padding = _setting(args, kwargs, 3, "stride", 1), _setting(args, kwargs, 4, "padding", 0)
    frozen = not (weight.requires_grad or weight.is_inference() or (bias is not None and bias.requires_grad))
    count = x.shape[0]
    small, single = x.numel() <= SMALL * count, stride in (1, (1, 1))
    several = torch.get_num_threads() > 1
    if single and weight.shape[-2:] == (1, 1) and padding in (0, (0, 0)) and not (several and not small):
        matrix = weight.flatten(1) if func in TRANSPOSED else weight.flatten(1).t()
        if frozen:
            return _Pointwise.apply(x, matrix, bias, several and count > 1)
        parts = x.split(1) if several and count > 1 else [x]
        return torch.cat([_pointwise(part, matrix, bias) for part in parts])
    plain = single and func not in TRANSPOSED and _setting(args, kwargs, 5, "dilation", 1) in (1, (1, 1))
    direct = ONEDNN and x.dtype == torch.float32 and count and not torch.compiler.is_compiling()
    if small and plain and frozen and direct:
        pads = (-1,) if isinstance(padding, str) else _pair(padding)
        if all(0 <= pad < size for pad, size in zip(pads, weight.shape[2:], strict=False)):
            return _Small.apply(x, weight, bias, pads)
    if small and count == 1:
        return func(torch.cat([x, x]), weight, *rest, **kwargs)[:1]
    return func(*args, **kwargs)


def _pointwise(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Images (B, C, H, W), every position of which is multiplied by a matrix (C, D) -> (B, D, H, W)."""
    placed: Tensor = _product(_rows(x), matrix, bias).unflatten(1, x.shape[-2:])
    return placed.permute(0, 3, 1, 2)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H W, C), a view where memory is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _product(rows: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    matrices = matrix.expand(len(rows), -1, -1)
    return torch.bmm(rows, matrices, out=out) if bias is None else torch.baddbmm(bias, rows, matrices, out=out)


def multiplied(x: Tensor, matrix: Tensor, bias: Tensor | None, apart: bool = False) -> Tensor:
    """`_pointwise` without a graph, (B, C, H, W) -> (B, D, H, W), no view; `apart`: one image after the other."""
    if torch.is_autocast_enabled("cpu"):  # which no product into a given place asks
        return torch.cat([_pointwise(part, matrix, bias) for part in (x.split(1) if apart else [x])])
    shape = x.shape[0], matrix.shape[1], *x.shape[2:]
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    rows, places = _rows(x), _rows(out)
    for part, place in zip(rows.split(1), places.split(1), strict=True) if apart else [(rows, places)]:
        _product(part, matrix, bias, out=place)
    return out


class _Pointwise(torch.autograd.Function):
    """`_pointwise` by frozen weights, as one node of the graph instead of six."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor | None, apart: bool) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W); `apart`: one image after the other."""
        ctx.save_for_backward(matrix)
        ctx.apart = apart
        return multiplied(x, matrix, bias, apart)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """(B, D, H, W) -> (B, C, H, W)."""
        (matrix,) = ctx.saved_tensors
        found: Tensor = _Pointwise.apply(gradients[0], matrix.t(), None, ctx.apart)
        return found, None, None, None


class _Small(torch.autograd.Function):
    """A convolution of small images by oneDNN, however many there are, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        ctx.save_for_backward(weight)
        ctx.padding = padding
        return _onednn(x, weight, bias, padding, turned=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """(B, D, H', W') -> (B, C, H, W)."""
        (weight,) = ctx.saved_tensors
        padding = tuple(size - 1 - pad for size, pad in zip(weight.shape[2:], ctx.padding, strict=True))
        return _onednn(gradients[0], weight, None, padding, turned=True), None, None, None


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], *, turned: bool) -> Tensor:
    """x convolved by frozen weights (D, C, H, W), or, `turned`, by those that hand gradients back, (C, D, H, W)."""
    last = any(one.is_contiguous(memory_format=torch.channels_last) for one in (x, weight))
    if last and PACKS and not torch.is_grad_enabled():
        placed = _kept(weight, turned, x.shape, padding), bias, padding, (1, 1), (1, 1), 1
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *placed, "none", [], "")
        return found
    layout = torch.channels_last if last else torch.contiguous_format
    weight = _kept(weight, turned) if turned else weight
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    return torch.mkldnn_convolution(x, weight, bias, padding, (1, 1), (1, 1), 1)


# By the place of frozen weights: these, their version and what was made of them.
_KEPT: dict[int, tuple[weakref.ref[Tensor], tuple[int, int], dict[Any, Tensor]]] = {}


def _kept(weight: Tensor, turned: bool, size: torch.Size | None = None, padding: tuple[int, ...] = ()) -> Tensor:
    """Weights (D, C, H, W), or `turned` by half and with their channels exchanged, made once as long as they are.

    With the `size` of images and their padding they lie as oneDNN reads them: else it moves them in every pass.
    """
    version = weight.data_ptr(), weight._version
    known = _KEPT.get(id(weight))
    if known is None or known[0]() is not weight or known[1] != version:
        place = id(weight)
        known = weakref.ref(weight, lambda _: _KEPT.pop(place, None)), version, {}
        _KEPT[place] = known
    key = turned, size is not None and (size[1:], padding)
    if key not in known[2]:
        found = weight.detach()
        if turned:
            layout = torch.channels_last if found.is_contiguous(memory_format=torch.channels_last) else None
            found = found.flip(2, 3).transpose(0, 1).contiguous(memory_format=layout or torch.contiguous_format)
        if size is not None:
            found = torch.ops.aten.mkldnn_reorder_conv2d_weight(found.to_mkldnn(), padding, (1, 1), (1, 1), 1, size)
        known[2][key] = found
    return known[2][key]


def _pair(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _curve(func: Callable[..., Tensor], x: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
    """An elementwise function of (B, ...), the rows repeated until there is no rest."""
    rows = x if x.dim() else x[None]
    whole = LANES // math.gcd(rows[:1].numel(), LANES)
    out = func(rows[torch.arange(-(-len(rows) // whole) * whole) % len(rows)], *args, **kwargs)[: len(rows)].view_as(x)
    return x.copy_(out) if inplace else out


def _setting(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    """An argument of a convolution."""
    return args[place] if len(args) > place else kwargs.get(name, default)
