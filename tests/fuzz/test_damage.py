"""Damaged files of every kind that is read: refused by name, or loaded as they were."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import ppgn
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.networks import _weights, captioner, labels
from ppgn.networks.network import Network, Preprocessing
from ppgn.photographs import Photographs
from ppgn.samplers.annealed import Annealed
from tests.fuzz.command import SEEN, command, place

TYPES = ["F16", "BF16", "I16", "F32", "I32", "U8", "F8_E4M3"]


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What may happen to the bytes of a file."""
    kind = draw(
        st.sampled_from(["flip"] * 3 + ["head"] * 3 + ["zero", "cut", "add", "noise", "relabel", "swap", "word"])
    )
    where, size, bit = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 4096)), draw(st.integers(0, 7))
    noise, types = draw(st.binary(min_size=1, max_size=64)), draw(st.permutations(TYPES))

    def damaged(data: bytes) -> bytes:
        at = int(where * (min(len(data), 2000) if kind == "head" else len(data)))
        if kind in ("flip", "head"):
            return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        if kind == "zero":
            return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
        if kind == "cut":
            return data[:at]
        if kind == "add":
            return data[:at] + noise + data[at:]
        if kind == "noise":
            return data[:at] + noise + data[at + len(noise) :]
        return _header(data, lambda text: _changed(text, kind, types, at))

    return damaged


def _changed(text: str, kind: str, types: list[str], at: int) -> str:
    if kind == "relabel":
        return text.replace(f'"{types[0]}"', f'"{types[1]}"')
    if kind == "word":
        return re.sub(r"\d+|true|null", lambda match: "7" if match.start() % 5 == at % 5 else match[0], text)
    entries = json.loads(text)
    names = [name for name in entries if name != "__metadata__"]
    for one, other in zip(names[::2], names[1::2], strict=False):
        entries[one], entries[other] = entries[other], entries[one]
    return json.dumps(entries)


def _header(data: bytes, change: Callable[[str], str]) -> bytes:
    """A safetensors file with another header; any other file as it is."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        text = change(data[8 : 8 + length].decode()).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError):
        return data


def _refused(load: Callable[[Path], Any], path: Path) -> tuple[bool, Any]:
    """Whether a file is refused, in one line that names it or its folder, and what was loaded if not."""
    SEEN["damaged files"] += 1
    try:
        return False, load(path)
    except InputError as error:
        said = str(error)
    SEEN["damaged files refused by name"] += 1
    assert path.name in said or str(path.parent) in said, said
    assert "\n" not in said
    return True, None


def _refused_or_equal(load: Callable[[Path], Any], data: bytes, path: Path, expected: Any) -> bool:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    refused, found = _refused(load, path)
    return refused or _equal(found, expected)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


@settings(max_examples=300)
@given(damage=damages())
def test_a_model(files: Path, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[bytes], bytes]) -> None:
    def load(path: Path) -> dict[str, Any]:
        model = ppgn.load(path)
        return {**model.state_dict(), "card": model.card, "config": model.config}

    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    data = (files / "small.safetensors").read_bytes()
    assert _refused_or_equal(load, damage(data), path, load(files / "small.safetensors"))


@settings(max_examples=100)
@given(damage=damages())
def test_a_model_without_a_digest_is_refused_or_loaded(
    files: Path, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[bytes], bytes]
) -> None:
    with safe_open(files / "small.safetensors", "pt") as file:
        metadata = {name: text for name, text in file.metadata().items() if name != "digest"}
        data = safetensors.torch.save({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118
    path = tmp_path_factory.getbasetemp() / "old.safetensors"
    path.write_bytes(damage(data))
    refused, found = _refused(ppgn.load, path)
    assert refused or all(bool(value.isfinite().all()) for value in found.state_dict().values())


@settings(max_examples=60)
@given(damage=damages())
def test_a_captioner(tmp_path_factory: pytest.TempPathFactory, damage: Callable[[bytes], bytes]) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.safetensors"
    with pytest.MonkeyPatch.context() as patch:  # a network that is made at once
        body = nn.Sequential(nn.Conv2d(3, 4, 3))
        network = Network(body, Preprocessing(8), name="efficientnet_lite0")
        patch.setattr(captioner.imagenet, "load", lambda *_, **__: network)
        if not whole.exists():
            captioner.LRCN(network, ["a", "dog"], layer="0", features=4, width=4).save(whole)
        assert _refused_or_equal(
            lambda path: dict(captioner.load(path).state_dict()),
            damage(whole.read_bytes()),
            folder / "captioner.safetensors",
            dict(captioner.load(whole).state_dict()),
        )


def _read(path: Path) -> bool:
    """Whether a picture, a state dict, or a folder of photographs is one, finite and of equally many of each."""
    if path.suffix == ".png":
        return bool(images.read(path).isfinite().all())
    if path.suffix == ".pth":
        linear = nn.Linear(2, 2)
        _weights.assign(linear, _weights.read(path), str(path))
        return all(bool(value.isfinite().all()) for value in linear.parameters())
    found = Photographs.find(path.parent)
    labels.read(path.parent / "classes.json")
    return len([found[row] for row in range(len(found))]) == len(found.labels) == len(found.captions)


@settings(max_examples=100)
@given(damage=damages(), name=st.sampled_from(["photo.png", "weights.pth", "arrays/set/val_images.npy",
                                               "arrays/set/val_labels.npy", "arrays/set/val_captions.jsonl",
                                               "arrays/set/classes.json"]))  # fmt: skip
def test_what_has_no_digest(files: Path, damage: Callable[[bytes], bytes], name: str) -> None:
    with place(files) as folder:
        path = folder / "new" / Path(name).name
        path.parent.mkdir()
        for beside in (files / name).parent.iterdir() if "/" in name else []:
            (path.parent / beside.name).symlink_to(beside)
        path.unlink(missing_ok=True)
        path.write_bytes(damage((files / name).read_bytes()))
        refused, found = _refused(_read, path)
        assert refused or found


RUN = ["sample", "model=small.safetensors", "condition=torchscript", "condition.path=classifier.ts", "target=1"]
RUN += ["condition.size=16", "steps=52", "device=cpu", "batch_size=2", "out=o", "sampler=annealed", "seeds=0-3"]


@pytest.fixture(scope="module")
def stopped(files: Path) -> dict[str, bytes]:
    """What lies in the folder of a run that was interrupted in its second batch."""
    left, step = 103, Annealed.step

    def stopping(*given: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return step(*given)

    with place(files) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Annealed, "step", stopping)
        assert main(RUN) == 130
        return {path.name: path.read_bytes() for path in (folder / "o").iterdir() if path.is_file()}


@settings(max_examples=20)
@given(damage=damages(), name=st.sampled_from(["samples.safetensors", "chains-0.safetensors"]))
def test_what_a_run_goes_on_from(
    files: Path, stopped: dict[str, bytes], damage: Callable[[bytes], bytes], name: str
) -> None:
    found = []
    for change in (damage, bytes):
        with place(files) as folder:
            (folder / "o").mkdir()
            for other, data in stopped.items():
                (folder / "o" / other).write_bytes(change(data) if other == name else data)
            status, _, said = command([*RUN, "resume=true"])
            SEEN["damaged files"] += change is damage
            if status:
                SEEN["damaged files refused by name"] += 1
                assert name in said[0] or "'o'" in said[0]
                return
            found.append(load_file(folder / "o" / "samples.safetensors"))
    assert _equal(*found)
