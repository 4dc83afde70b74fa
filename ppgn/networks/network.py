"""A network to look through: frozen weights together with their preprocessing and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.contracts import Shape
from ppgn.errors import InputError, check_known
from ppgn.numerics.convolution import whole
from ppgn.numerics.linear import alike
from ppgn.numerics.rectifier import in_place
from ppgn.numerics.resizing import resize


class Preprocessing(nn.Module):
    """What a set of weights expects of its input, starting from RGB in [0, 1]: (B, 3, H, W) -> (B, 3, H', W').

    The image is resized to `size` pixels a side (None keeps its own size) by `interpolation`, "bicubic" or "bilinear",
    with antialiasing where it shrinks; with `crop` a larger one is cut to its centre instead, the larger half of an odd
    rest above and left (of DeePSiM's 256 pixels 14 for 227, of these 2 more for 224, as the paper has it). Its channels
    are put in `channels` order, "rgb" or "bgr", or become one, "gray" (luma of ITU-R BT.601); the result is
    (scale · x − mean) / std, with `mean` and `std` one number, or one a channel. Values outside [0, 1] are not clamped,
    since samplers need their gradients. On CUDA the gradient of the resizing is summed in no fixed order, so that two
    runs agree up to rounding; on a CPU they agree bit for bit.

    Grey images (B, 1, H, W) are taken as RGB of three channels alike. Raises `InputError` for any others.
    """

    gain: Tensor
    shift: Tensor

    def __init__(
        self,
        size: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        scale: float = 1.0,
        channels: str = "rgb",
        interpolation: str = "bicubic",
        crop: bool = False,
    ) -> None:
        super().__init__()
        if size is not None and (type(size) is not int or size < 1):
            raise InputError(f"network input size={size}: expected at least 1 pixel")
        check_known("channels", channels, ("rgb", "bgr", "gray"))
        check_known("interpolation", interpolation, ("bicubic", "bilinear"))
        self.size, self.scale, self.channels, self.interpolation = size, scale, channels, interpolation
        self.crop = crop or None  # settings that are None are not counted by `ppgn.anchors.digest`
        if not {len(mean), len(std)} <= {1, self.depth} or 0.0 in std:
            expected = f"{'one number' if self.depth == 1 else 'three numbers'} each, std not 0"
            raise InputError(f"mean={list(mean)}, std={list(std)}: expected {expected}")
        self.mean, self.std = (tuple(v) * (self.depth if len(v) == 1 else 1) for v in (mean, std))
        for name in ("gain", "shift"):
            self.register_buffer(name, torch.empty(1, self.depth, 1, 1), persistent=False)
        self._fill()

    @property
    def depth(self) -> int:
        """How many channels the network sees."""
        return 1 if self.channels == "gray" else 3

    @torch.no_grad()
    def _fill(self) -> None:
        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float64).view(2, 1, -1, 1, 1)
        self.gain.copy_(self.scale / std)
        self.shift.copy_(-mean / std)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Preprocessing:
        super()._apply(fn, recurse)
        self._fill()  # so that the constants are exact after a change of precision, not rounded twice
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> what the weights expect, differentiable."""
        if x.dim() != 4 or x.shape[1] not in (1, 3):
            expected = "expected (B, 3, H, W), RGB in [0, 1], or grey (B, 1, H, W)"
            raise InputError(f"images of shape {tuple(x.shape)}: {expected}")
        x = x.expand(-1, 3, -1, -1)
        if self.size is not None and self.crop and min(x.shape[-2:]) > self.size:
            top, left = ((side - self.size + 1) // 2 for side in x.shape[-2:])
            x = x[..., top : top + self.size, left : left + self.size]
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            precise = x.to(torch.promote_types(x.dtype, torch.float32))  # a CPU cannot antialias in half precision
            x = resize(precise, self.size, self.interpolation, antialias=self.size < max(x.shape[-2:])).to(x.dtype)
        if self.channels == "bgr":
            x = x.flip(1)
        if self.channels == "gray":
            x = (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        return torch.addcmul(self.shift.to(x), x, self.gain.to(x))

    def extra_repr(self) -> str:
        """The settings, for `print` and for `Network.same_as`."""
        names = ("size", "channels", "mean", "std", "scale", "interpolation", "crop")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


LUMA = (0.299, 0.587, 0.114)  # of red, green and blue


class _StopForward(BaseException):
    """Ends a forward pass from inside a hook once every wanted layer has fired."""


class Network(nn.Module):
    """A frozen network: images (B, 3, H, W) in [0, 1] -> its output, usually logits (B, K).

    Parameters never require gradients, gradients flow to the input. `labels` names the K outputs where it can, each
    with its synonyms, separated by commas. `restorable` weights are there again when the network is loaded again, so a
    checkpoint leaves them out. `rebuilt_with` are the loader's arguments that change once a checkpoint holds the
    weights. `features` reads any inner layers by their dotted module names.

    `body` is copied, so that it stays as it is; `copy=False` takes it over. Raises `InputError` where there are more or
    fewer labels than outputs.
    """

    def __init__(
        self,
        body: nn.Module,
        preprocessing: Preprocessing,
        *,
        name: str,
        labels: Sequence[str] | None = None,
        restorable: bool = True,
        rebuilt_with: Mapping[str, Any] | None = None,
        copy: bool = True,
    ) -> None:
        super().__init__()
        body = deepcopy(body) if copy else body
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        self.body = in_place(alike(body)).eval()
        self.preprocessing = preprocessing
        self.name = name
        self.restorable = restorable
        self.rebuilt_with = dict(rebuilt_with or {})
        self._calls: dict[str, int] = {}  # how often a layer runs in one forward pass, where that is known
        self.labels: tuple[str, ...] | None = None
        if labels is not None:
            self.name_outputs(labels)

    def train(self, mode: bool = True) -> Network:
        """A frozen network stays in evaluation mode, whatever its surroundings do."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the network's output."""
        seen = self.preprocessing(x)
        out: Any = whole(self.body, seen) if getattr(self.body, "rounds_alike", False) else self.body(seen)
        found: Tensor = getattr(out, "logits", out)  # an object of outputs, as Hugging Face's networks give
        return found

    @property
    def side(self) -> int:
        """The pixels of a side of what it looks at; 224 where it takes any."""
        return self.preprocessing.size or 224

    def blank(self) -> Tensor:
        """A black image of that size, (1, 3, side, side)."""
        return self.preprocessing.gain.new_zeros(1, 3, self.side, self.side)

    @cached_property
    def classes(self) -> int:
        """The number of outputs K, as a forward pass of a blank image tells.

        Raises `InputError` where the network does not take such an image or does not give (1, K).
        """
        blank = self.blank()
        try:
            with torch.no_grad():
                out: object = self(blank)
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1]
            raise InputError(f"network '{self.name}' does not take {tuple(blank.shape)}: {reason}") from error
        problem = f"network '{self.name}' gives"
        if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != 1 or not out.is_floating_point():
            given = f"{tuple(out.shape)} of {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"{problem} {given} for one image; expected logits (1, K), floating-point numbers")
        return out.shape[1]

    def name_outputs(self, labels: Sequence[str]) -> None:
        """Give the outputs their names. Raises `InputError` for more or fewer than outputs."""
        if len(labels) != self.classes:
            raise InputError(f"{len(labels)} class names for the {self.classes} outputs of network '{self.name}'")
        self.labels = tuple(labels)

    def layers(self) -> list[str]:
        """The dotted names of all modules that `features` can read, in order of definition; none of a TorchScript."""
        return list(self._readable())

    @torch.no_grad()
    def layer_shapes(self) -> dict[str, Shape]:
        """The output shape, without the batch, of every layer that a forward pass reaches, in order of execution.

        (C, H, W) for a convolutional layer of C units, (D,) for a fully connected one; other than tensor outputs are
        left out. Takes a forward pass of a blank image.
        """
        with self._capture(self.layers(), stop=False) as (outputs, _):
            self(self.blank())
        return {name: tuple(output.shape[1:]) for name, output in outputs.items()}

    def features(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of inner `layers` for images (B, 3, H, W) in [0, 1], by name, in the order asked.

        Where a module runs several times its last output counts. The first call for a layer makes a complete forward
        pass, counting; when every wanted layer is known to run once, later passes end after the last wanted layer.
        The outputs are copies, unharmed by in-place activations behind them.

        Raises `InputError` for a name that does not exist, naming the nearest, and for a layer that the forward pass
        does not reach or that gives something else than a tensor.
        """
        stop = all(self._calls.get(name) == 1 for name in layers)
        with self._capture(layers, stop) as (outputs, calls):
            self(x)
        if not stop:
            self._calls.update(calls)
        for name in layers:
            if name not in outputs:
                reason = "gives no single tensor" if calls[name] else "is not used in its forward pass"
                raise InputError(f"layer '{name}' of {self.name} {reason}; choose another")
        return {name: outputs[name] for name in layers}

    @contextmanager
    def reading(self, x: Tensor, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """While it is entered, a pass of `x` itself through the network also fills what `features(x, layers)` gives.

        The dictionary stays empty where nobody passes x, or not to the end. Raises `InputError` for a name that does
        not exist.
        """
        found: dict[str, Tensor] = {}

        def note(_module: nn.Module, inputs: tuple[object, ...], _output: object) -> None:
            if inputs[0] is x:
                found.update(outputs)

        with self._capture(layers, stop=False) as (outputs, _):
            handle = self.register_forward_hook(note)
            try:
                yield found
            finally:
                handle.remove()

    def same_as(self, other: Network) -> bool:
        """Whether `other` is this network, or another copy of it: name, preprocessing and weights are equal."""
        if self is other:
            return True
        if self.name != other.name or str(self.preprocessing) != str(other.preprocessing):
            return False
        mine, theirs = self.body.state_dict(), other.body.state_dict()
        return mine.keys() == theirs.keys() and all(_equal(mine[key], theirs[key]) for key in mine)

    def _readable(self) -> dict[str, nn.Module]:
        if isinstance(self.body, torch.jit.ScriptModule):  # takes no hooks
            return {}
        return {name: module for name, module in self.body.named_modules() if name}

    @contextmanager
    def _capture(self, layers: Sequence[str], stop: bool) -> Iterator[tuple[dict[str, Tensor], Counter[str]]]:
        """Collect outputs and numbers of calls of `layers` while forward passes run; leaves no hook behind.

        With `stop`, the pass ends as soon as each of them has fired.
        """
        readable = self._readable()
        for name in layers:
            if not readable:
                raise InputError(f"layer '{name}' of {self.name}: a TorchScript's inner layers cannot be read")
            check_known(f"layer of {self.name}", name, readable)
        outputs: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
                calls[name] += 1
                if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
                    output = output[0]  # attention, with its weights behind it
                if isinstance(output, Tensor):
                    outputs[name] = output.clone()
                if stop and len(calls) == len(wanted):
                    raise _StopForward

            return hook

        wanted = dict.fromkeys(layers)
        handles = [readable[name].register_forward_hook(hook_for(name)) for name in wanted]
        try:
            yield outputs, calls
        except _StopForward:
            pass
        finally:
            for handle in handles:
                handle.remove()


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
