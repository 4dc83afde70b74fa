"""Files of weights that Caffe wrote: NetParameter messages of all three generations, read without protobuf's help.

Source: protocol buffers' wire format; the messages of BVLC's caffe.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.interop.source import Blob, Source

HDF5 = b"\x89HDF"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MOST_FIELDS = 1_000_000  # of a file, the largest published ones have some thousands
MOST_AXES = 32  # of a blob, as in Caffe
KINDS_V1 = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU", 39: "Deconvolution"}
KINDS_V0 = {"conv": "Convolution", "innerproduct": "InnerProduct", "lrn": "LRN", "pool": "Pooling", "relu": "ReLU"}

Field = tuple[int, int, int, int]  # number, wire type, and the value of a varint, 0, or where the value lies


class _DamagedError(Exception):
    """What is wrong with a file, and at which byte."""


def load(path: str | Path) -> Source:
    """What a .caffemodel file holds, whichever of Caffe's three layer lists (2013, V1 of 2014, V2) it was written in.

    Its numbers are not read yet. Raises `InputError` for a file that is none, is truncated or is HDF5.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            head = file.read(4)
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if head else memoryview(b"")
    except OSError as error:
        raise InputError(f"'{path}': {error.strerror}; give the path of a .caffemodel file") from error
    if head == HDF5:
        advice = "convert it in Caffe, net.save('FILE.caffemodel'), and give that file"
        raise InputError(f"'{path}' is a caffemodel in HDF5, which is not read here; {advice}")
    try:
        return _Reader(path, data).net()
    except _DamagedError as error:
        advice = "give a binary .caffemodel file, and get it again if it was not downloaded completely"
        raise InputError(f"'{path}' is no whole caffemodel: {error}; {advice}") from error


class _Reader:
    """Messages in the bytes of a file. Every length is checked against the message around it."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path, self.data = path, data
        self.fields_left = MOST_FIELDS

    def net(self) -> Source:
        name, blobs, kinds, inputs = "", {}, {}, {}
        for number, wire, start, end in self._fields(0, len(self.data)):
            if (number, wire) == (1, BYTES):
                name = self._text(start, end)
            elif wire == BYTES and number in (2, 100):
                layer, kind, bottoms, found = self._layer(start, end, v2=number == 100)
                kinds[layer], inputs[layer] = kind, bottoms
                for index, blob in enumerate(found):
                    key = f"{layer}.{('weight', 'bias')[index] if index < 2 else index}"
                    if key in blobs:
                        raise _DamagedError(f"layer '{layer}' occurs twice")
                    blobs[key] = blob
        if not blobs:
            raise _DamagedError("it holds no layers with weights")
        return Source(self.path, blobs, name, kinds, inputs)

    def _layer(self, start: int, end: int, v2: bool) -> tuple[str, str, tuple[str, ...], list[Blob]]:
        """The name, type, inputs and blobs of a layer; one of 2013 lies inside a message of V1."""
        of_name, of_type, of_bottom, of_blobs = (1, 2, 3, 7) if v2 else (4, 5, 2, 6)
        name, kind, bottoms, blobs = "", "", [], []
        for number, wire, first, last in self._fields(start, end):
            if (number, wire) == (of_name, BYTES):
                name = self._text(first, last)
            elif number == of_type:
                kind = self._text(first, last) if wire == BYTES else KINDS_V1.get(first, "")
            elif (number, wire) == (of_bottom, BYTES):
                bottoms.append(self._text(first, last))
            elif (number, wire) == (of_blobs, BYTES):
                blobs.append(self._blob(first, last))
            elif (number, wire) == (1, BYTES) and not v2:
                for inner, inner_wire, begin, stop in self._fields(first, last):
                    if (inner, inner_wire) == (1, BYTES):
                        name = self._text(begin, stop)
                    elif (inner, inner_wire) == (2, BYTES):
                        kind = KINDS_V0.get(self._text(begin, stop), "")
                    elif (inner, inner_wire) == (50, BYTES):
                        blobs.append(self._blob(begin, stop))
        return name, kind, tuple(bottoms), blobs

    def _blob(self, start: int, end: int) -> Blob:
        legacy: dict[int, int] = {}
        dims: list[int] = []
        chunks: dict[int, list[tuple[np.dtype[np.void], int, int]]] = {5: [], 8: []}  # float, double
        for number, wire, first, last in self._fields(start, end):
            if number in (1, 2, 3, 4) and wire == VARINT:
                legacy[number] = first
            elif (number, wire) == (7, BYTES):
                for inner, inner_wire, begin, stop in self._fields(first, last):
                    if (inner, inner_wire) == (1, VARINT):
                        dims.append(begin)
                    while (inner, inner_wire) == (1, BYTES) and begin < stop:
                        dim, begin = self._varint(begin, stop)
                        dims.append(dim)
            elif number in chunks:
                width, tag = (4, 1) if number == 5 else (8, 1)
                packed = wire == BYTES
                if (last - first) % (width + (0 if packed else tag)):
                    raise _DamagedError(f"numbers end in the middle, at byte {last}")
                tagged = [("tag", "u1")] if not packed else []
                kind = np.dtype([*tagged, ("value", f"<f{width}")])
                chunks[number].append((kind, first, (last - first) // kind.itemsize))
        shape = tuple(legacy.get(axis, 0) for axis in (1, 2, 3, 4)) if legacy else tuple(dims)
        if len(shape) > MOST_AXES:
            raise _DamagedError(f"the blob at byte {start} has {len(shape)} axes")
        parts = chunks[8] or chunks[5]
        count = sum(part[2] for part in parts)
        if math.prod(shape) != count:
            raise _DamagedError(f"the blob at byte {start} has {count} numbers for the shape {shape}")
        return Blob(shape, lambda: self._numbers(parts).view(shape))

    def _numbers(self, parts: list[tuple[np.dtype[np.void], int, int]]) -> Tensor:
        read = [np.fromfile(self.path, kind, count, offset=first)["value"] for kind, first, count in parts]
        if any(len(values) != count for values, (_, _, count) in zip(read, parts, strict=True)):
            raise InputError(f"'{self.path}' was changed while it was read; try again")
        values = read[0] if len(read) == 1 else np.concatenate(read)
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    def _fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message from `start` to `end`; equal ones of a fixed width, one after another, are one."""
        at = start
        while at < end:
            self.fields_left -= 1
            if self.fields_left < 0:
                raise _DamagedError(f"it has more than {MOST_FIELDS} fields")
            tag_at = at
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if wire == VARINT:
                value, at = self._varint(at, end)
                yield number, wire, value, 0
                continue
            if wire == BYTES:
                length, at = self._varint(at, end)
                first, at = at, at + length
            elif wire in (FIXED32, FIXED64):
                width = 4 if wire == FIXED32 else 8
                first, at = tag_at, at + width
                if at <= end and at - width == tag_at + 1:
                    at = tag_at + (1 + width) * self._run(tag_at, end, 1 + width)
            else:
                raise _DamagedError(f"there is no field at byte {tag_at}")
            if number == 0 or at > end:
                raise _DamagedError(f"the field at byte {tag_at} reaches beyond the {end} bytes around it")
            yield number, wire, first, at

    def _run(self, start: int, end: int, step: int) -> int:
        """How many records of `step` bytes from `start` on begin with the same byte."""
        most, count = (end - start) // step, 1
        while count < most:
            window = np.frombuffer(self.data, np.uint8, min(4 * count, most) * step, start)[::step]
            other = np.flatnonzero(window != window[0])
            if len(other):
                return int(other[0])
            count = len(window)
        return count

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise _DamagedError(f"it ends at byte {at}, in the middle of a number")
            byte = self.data[at]
            value |= (byte & 127) << shift
            at += 1
            if byte < 128:
                return value, at
        raise _DamagedError(f"there is no number at byte {at}")

    def _text(self, start: int, end: int) -> str:
        return bytes(self.data[start : min(end, start + 200)]).decode("utf-8", "replace")
