"""A file of published weights, whatever its format: what it holds, by the names of Caffe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ppgn.contracts import Shape
from ppgn.errors import InputError


@dataclass(frozen=True)
class Blob:
    """The numbers of one parameter, read when they are asked for: `read()` -> float32 of `shape`."""

    shape: Shape
    read: Callable[[], Tensor]

    def fits(self, shape: Shape) -> bool:
        """Whether the shapes are equal but for leading ones, which Caffe's older files fill up with."""
        return _core(self.shape) == _core(shape)


def _core(shape: Shape) -> Shape:
    first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[first:])


@dataclass(frozen=True)
class Source:
    """A file's parameters by name, "conv1.weight", "conv1.bias", a third one of a layer "lstm1.2".

    `net` is what the file calls its network, `kinds` the types of its layers and `inputs` what each of these reads, all
    as far as the file says so.
    """

    path: Path
    blobs: Mapping[str, Blob]
    net: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # layers that were asked for

    @property
    def ignored(self) -> list[str]:
        """The layers that nobody has asked for."""
        return [layer for layer in self.layers if layer not in self.used]

    @property
    def layers(self) -> list[str]:
        """The names of the layers that have parameters, in order."""
        return list(dict.fromkeys(name.rpartition(".")[0] for name in self.blobs))

    def check(self, wanted: Mapping[str, Shape], kinds: Mapping[str, str], what: str, advice: str) -> None:
        """Ask for parameters, all of those of some layers; others are ignored.

        wanted: the shape of every parameter; kinds: the type of every layer. Raises `InputError` that names every
        parameter which is missing, one too many or of another shape, and every layer of another type.
        """
        layers = dict.fromkeys(name.rpartition(".")[0] for name in wanted)
        absent = [layer for layer in layers if layer not in self.layers]
        wrong = [f"no layer '{layer}'" for layer in absent]
        for name, shape in wanted.items():
            if name not in self.blobs and name.rpartition(".")[0] not in absent:
                wrong.append(f"'{name}' is missing, expected {shape}")
            elif name in self.blobs and not self.blobs[name].fits(shape):
                wrong.append(f"'{name}' has shape {self.blobs[name].shape}, expected {shape}")
        for name in self.blobs:
            if name not in wanted and name.rpartition(".")[0] in layers:
                wrong.append(f"'{name}' is one too many")
        for layer, kind in kinds.items():
            if self.kinds.get(layer, kind) not in (kind, ""):
                wrong.append(f"'{layer}' is of type {self.kinds[layer]}, expected {kind}")
        self.used.update(layers)
        if wrong:
            others = f"; it also has {', '.join(self.ignored)}" if self.ignored else ""
            raise InputError(f"'{self.path}' is not {what}: {'; '.join(wrong)}{others}; {advice}")
