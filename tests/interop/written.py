"""Caffe's files as tests need them: a writer of caffemodels in all three layer lists, and the authors' layer lists."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KINDS = {"Convolution": (4, "conv"), "Deconvolution": (39, ""), "InnerProduct": (14, "innerproduct")}
KINDS |= {"LRN": (15, "lrn"), "Pooling": (17, "pool"), "LSTM": (0, ""), "Embed": (0, "")}
Layer = tuple[str, str, str, Sequence[Tensor]]  # name, type, what it reads, blobs

UPCONV = [("deconv5", 4), ("conv5_1", 3), ("deconv4", 4), ("conv4_1", 3), ("deconv3", 4), ("conv3_1", 3)]
UPCONV += [("deconv2", 4), ("deconv1", 4), ("deconv0", 4)]


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(value: Tensor, generation: str, packed: bool = True, double: bool = False) -> bytes:
    shape = tuple(value.shape)
    if generation == "V2":
        head = field(7, field(1, b"".join(map(varint, shape))))
    else:
        full = (1,) * (4 - len(shape)) + shape
        head = b"".join(field(axis, size) for axis, size in enumerate(full, 1))
    numbers = value.contiguous().numpy().astype("<f8" if double else "<f4").tobytes()
    if packed:
        return head + field(8 if double else 5, numbers)
    width = 8 if double else 4
    tag = varint(8 << 3 | 1) if double else varint(5 << 3 | 5)
    return head + b"".join(tag + numbers[i : i + width] for i in range(0, len(numbers), width))


def caffemodel(
    path: Path,
    layers: Sequence[Layer],
    generation: str = "V2",
    net: str = "",
    packed: bool = True,
    double: bool = False,
) -> Path:
    """Write a NetParameter of layer list V0 (2013), V1 or V2."""
    out = field(1, net) if net else b""
    for name, kind, bottom, values in layers:
        blobs = [blob(value, generation, packed, double) for value in values]
        if generation == "V2":
            body = field(1, name) + field(2, kind) + field(3, bottom) + field(4, name)
            out += field(100, body + b"".join(field(7, one) for one in blobs))
        elif generation == "V1":
            body = field(2, bottom) + field(3, name) + field(4, name) + field(5, KINDS[kind][0])
            out += field(2, body + b"".join(field(6, one) for one in blobs))
        else:
            inner = field(1, name) + field(2, KINDS[kind][1]) + b"".join(field(50, one) for one in blobs)
            out += field(2, field(1, inner) + field(2, bottom) + field(3, name))
    path.write_bytes(out)
    return path


def he(shape: Sequence[int], fan_in: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * (2 / fan_in) ** 0.5


def generator(width: int, dim: int, first: str = "defc7", scale: float = 1.0) -> list[Layer]:
    """The layers of a generator with `width` channels at 4 x 4, biases not 0; `first` is defc7 or Rconv6."""
    w, layers, below = width, [], "feat"
    if first == "defc7":
        sizes = {"defc7": (16 * w, dim), "defc6": (16 * w, 16 * w), "defc5": (16 * w, 16 * w)}
        kind = "InnerProduct"
    else:
        sizes = {"Rconv6": (2 * w, w, 3, 3), "Rconv7": (2 * w, 2 * w, 3, 3), "Rconv8": (2 * w, 2 * w, 3, 3)}
        kind = "Convolution"
    for seed, (name, shape) in enumerate(sizes.items()):
        layers.append((name, kind, below, [he(shape, int(np.prod(shape[1:])), seed), he(shape[:1], 8, 50 + seed)]))
        below = name
    channels = [2 * w if first == "Rconv6" else w, w, 2 * w, w, w, w // 2, w // 2, w // 4, w // 8, 3]
    for seed, (name, kernel) in enumerate(UPCONV):
        taken, given = channels[seed : seed + 2]
        weight = he((taken, given, kernel, kernel), taken * kernel**2 // (4 if kernel == 4 else 1), 10 + seed)
        gain = scale * 60 if name == "deconv0" else 1.0
        layers.append((name, "Deconvolution", below, [gain * weight, he((given,), 8, 70 + seed)]))
        below = name
    return layers


def caffenet(widths: Sequence[int], classes: int) -> list[Layer]:
    """The layers of CaffeNet of some widths, with biases that are not 0; LRN reads what was pooled."""
    c1, c2, c3, c4, c5, d6, d7 = widths
    shapes = {"conv1": (c1, 3, 11, 11), "conv2": (c2, c1 // 2, 5, 5), "conv3": (c3, c2, 3, 3)}
    shapes |= {"conv4": (c4, c3 // 2, 3, 3), "conv5": (c5, c4 // 2, 3, 3)}
    shapes |= {"fc6": (d6, c5 * 36), "fc7": (d7, d6), "fc8": (classes, d7)}
    layers: list[Layer] = []
    for seed, (name, shape) in enumerate(shapes.items()):
        kind = "InnerProduct" if name.startswith("fc") else "Convolution"
        values = [he(shape, int(np.prod(shape[1:])), 100 + seed), 5 * he(shape[:1], 2, 200 + seed)]
        below = {"conv2": "norm1", "conv3": "norm2"}.get(name, "data")
        layers.append((name, kind, below, values))
        if name in ("conv1", "conv2"):
            layers.append((f"norm{name[-1]}", "LRN", f"pool{name[-1]}", []))
    return layers


def _layer(name: str, kind: str, bottom: str, settings: str = "", top: str = "") -> str:
    tops = f'bottom: "{bottom}" top: "{top or name}"'
    return f'layer {{ name: "{name}" type: "{kind}" {tops} {settings} }}\n'


def _input(name: str, *shape: int) -> str:
    return f'input: "{name}"\ninput_shape {{ {" ".join(f"dim: {size}" for size in shape)} }}\n'


def generator_list(width: int, dim: int, first: str = "defc7") -> str:
    """The authors' generator_fc6.prototxt, or DeePSiM's from pool5."""
    w, below = width, "feat"
    dense = first == "defc7"
    text = _input("feat", 1, *((dim,) if dense else (w, 6, 6)))
    names = ("defc7", "defc6", "defc5") if dense else ("Rconv6", "Rconv7", "Rconv8")
    for name, pad in zip(names, (1, 1, 0), strict=True):
        if dense:
            text += _layer(name, "InnerProduct", below, f"inner_product_param {{ num_output: {16 * w} }}")
        else:
            setting = f"convolution_param {{ num_output: {2 * w} kernel_size: 3 stride: 1 pad: {pad} }}"
            text += _layer(name, "Convolution", below, setting)
        text += _layer(f"relu_{name}", "ReLU", name, "relu_param { negative_slope: 0.3 }", name)
        below = name
    if dense:
        dims = f"dim: 0 dim: {w} dim: 4 dim: 4"
        text += _layer("reshape", "Reshape", below, f"reshape_param {{ shape {{ {dims} }} }}")
        below = "reshape"
    channels = [w, 2 * w, w, w, w // 2, w // 2, w // 4, w // 8, 3]
    for (name, kernel), count in zip(UPCONV, channels, strict=True):
        setting = f"num_output: {count} kernel_size: {kernel} stride: {2 if kernel == 4 else 1} pad: 1"
        text += _layer(name, "Deconvolution", below, f"convolution_param {{ {setting} }}")
        if name != "deconv0":
            text += _layer(f"relu_{name}", "ReLU", name, "relu_param { negative_slope: 0.3 }", name)
        below = name
    return text


def caffenet_list(widths: Sequence[int], classes: int) -> str:
    """The released CaffeNet, from its data to fc8."""
    c1, c2, c3, c4, c5, d6, d7 = widths
    text, below = _input("data", 1, 3, 227, 227), "data"
    maps: Mapping[str, tuple[int, str]] = {
        "conv1": (c1, "kernel_size: 11 stride: 4"),
        "conv2": (c2, "kernel_size: 5 pad: 2 group: 2"),
        "conv3": (c3, "kernel_size: 3 pad: 1"),
        "conv4": (c4, "kernel_size: 3 pad: 1 group: 2"),
        "conv5": (c5, "kernel_size: 3 pad: 1 group: 2"),
    }
    for name, (count, settings) in maps.items():
        text += _layer(name, "Convolution", below, f"convolution_param {{ num_output: {count} {settings} }}")
        text += _layer(f"relu{name[-1]}", "ReLU", name, top=name)
        below = name
        if name in ("conv1", "conv2", "conv5"):
            pool = f"pool{name[-1]}"
            text += _layer(pool, "Pooling", name, "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
            below = pool
        if name in ("conv1", "conv2"):
            norm = f"norm{name[-1]}"
            text += _layer(norm, "LRN", below, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
            below = norm
    for name, count in (("fc6", d6), ("fc7", d7), ("fc8", classes)):
        text += _layer(name, "InnerProduct", below, f"inner_product_param {{ num_output: {count} }}")
        if name != "fc8":
            text += _layer(f"relu{name[-1]}", "ReLU", name, top=name)
        below = name
    return text


def huge_length(number: int = 100) -> bytes:
    """A field that says it is 2^62 bytes long."""
    return varint(number << 3 | 2) + varint(2**62) + struct.pack("<f", 1.0)
