"""Safetensors files: tensors with JSON metadata, written whole, and read only where their format is the right one."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ppgn import paths
from ppgn.errors import InputError, unknown

ADVICE = "give one that ppgn wrote"


class _Metadata(dict[str, Any]):
    """What a file says of itself; an entry that it lacks is one line."""

    def __init__(self, path: str | Path, entries: Mapping[str, Any]) -> None:
        super().__init__(entries)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise InputError(f"'{self.path}' is damaged: its metadata have no '{name}'; get it anew")


def save(path: str | Path, tensors: Mapping[str, Tensor], format: str, **metadata: Any) -> None:
    """Write `tensors` and JSON-able `metadata` under the name of a `format`; `path` is replaced whole or not at all.

    Raises `InputError` where the system refuses to write.
    """
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        own[name] = value.clone() if memory in seen else value  # the file format shares no memory
        seen.add(memory)
    texts = {"format": format, **{name: json.dumps(value) for name, value in metadata.items()}}
    paths.write(Path(path), safetensors.torch.save(own, texts))


def load(path: str | Path, *formats: str, advice: str = ADVICE) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote: tensors on the CPU, and the metadata with "format" among them. Nothing is unpickled.

    Raises `InputError` that ends in `advice` for a file of none of the `formats`, and for a damaged one.
    """
    with _opened(path, formats, advice) as (file, metadata):
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (it is no mapping)


def head(path: str | Path, *formats: str, advice: str = ADVICE) -> dict[str, Any]:
    """The metadata of `load` alone; the tensors are not read."""
    with _opened(path, formats, advice) as (_, metadata):
        return metadata


@contextmanager
def _opened(path: str | Path, formats: tuple[str, ...], advice: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            if texts.get("format") not in formats:
                given = f"'{path}' has format '{texts.get('format')}', not '{' or '.join(formats)}'"
                raise InputError(f"{given}; {advice}")
            entries = {name: text if name == "format" else json.loads(text) for name, text in texts.items()}
            yield file, _Metadata(path, entries)
    except json.JSONDecodeError as error:
        raise InputError(f"'{path}' is damaged: its metadata cannot be read; get it anew") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is not a safetensors file ({error}); {advice}") from error


def shipped(format: str) -> dict[str, Path]:
    """The files in checkpoints/ by name, sorted: those of a format, and unreadable ones, for `load` to tell."""
    found = {}
    for path in sorted(paths.checkpoints().glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                fits = (file.metadata() or {}).get("format") == format
        except (SafetensorError, OSError):
            fits = True
        if fits:
            found[path.stem] = path
    return found


def find(kind: str, name: str | Path, format: str, hint: str = "give the path of a .safetensors file") -> Path:
    """The file of a shipped `kind` ("model", "captioner") by name, or of a path.

    Raises `InputError` for a path where no file is, and for an unknown name, which tells the nearest.
    """
    text = str(name)
    if text.endswith(".safetensors") or os.sep in text:
        path = Path(text).expanduser()
        if not path.is_file():
            known = ", ".join(shipped(format))
            raise InputError(f"no checkpoint file '{path}'; give a .safetensors file or one of: {known}")
        return path
    known_ones = shipped(format)
    if text not in known_ones:
        raise unknown(kind, text, known_ones, f"or {hint}")
    return known_ones[text]


def versions() -> dict[str, str]:
    """What a report says of the software: the versions of ppgn, torch and Python."""
    return {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()}
