"""Safetensors files: tensors with JSON metadata, written whole, and read only where their format is the right one.

What a file says of itself is read without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

from safetensors import SafetensorError, safe_open

from ppgn import folders, paths
from ppgn.errors import InputError, unknown, why

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MODEL = "ppgn-1"  # the format of a PPGN
# What NumPy raises for a damaged file, with all that it reads by.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    TokenError,
    BadZipFile,
    zlib.error,
)
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
    import safetensors.torch
    from torch import contiguous_format as contiguous

    own = {name: value.detach().cpu().clone(memory_format=contiguous) for name, value in tensors.items()}
    texts = {"format": format, **{name: json.dumps(value) for name, value in metadata.items()}}
    texts["digest"] = digest(own, texts)
    paths.write(Path(path), safetensors.torch.save(own, texts))


def digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """SHA-256 of tensors on the CPU, their names, types and shapes, and of what else a file says."""
    import torch

    said = {name: text for name, text in (texts or {}).items() if name != "digest"}
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.reshape(-1)
        flat = flat if flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)  # of one number
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def load(path: str | Path, *formats: str, advice: str = ADVICE) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote: tensors on the CPU, and the metadata with "format" among them. Nothing is unpickled.

    The file must have the digest in SHA256SUMS beside it or, where it is not listed there, what was read the one that
    the file tells; stderr says where there is neither. Raises `InputError` that ends in `advice` for a file of none of
    the `formats`, and for a damaged one.
    """
    with _opened(path, formats, advice, "pt") as (file, metadata):
        tensors, texts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    told, sha256 = texts.get("digest"), listed(Path(path))
    if told is None and sha256 is None:
        print(f"ppgn: '{path}' tells no digest, so that damage would go unnoticed", file=sys.stderr)
    undamaged = told is None or told == digest(tensors, texts) if sha256 is None else sha256 == folders.digest(path)
    if not undamaged:
        raise InputError(f"'{path}' is damaged: its digest is not that of what it holds; get it anew")
    return tensors, metadata


def listed(path: Path) -> str | None:
    """The SHA-256 of a file by SHA256SUMS beside it, as `sha256sum` writes and checks it; `load` has compared it."""
    sums = path.with_name("SHA256SUMS")
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [path.name]), None)


def array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """An array of a .npy file, read without pickles. Raises `InputError` for what is none, and for a damaged one."""
    import numpy as np

    try:
        found: Any = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        reason = "it holds several arrays"
    except DAMAGED as error:
        reason = why(error)
    raise InputError(f"cannot read '{path}' ({reason}); store it anew")


def head(path: str | Path, *formats: str, advice: str = ADVICE) -> dict[str, Any]:
    """The metadata of `load` alone; the tensors are not read, and the digest is not checked.

    Without `formats` any will do.
    """
    with _opened(path, formats, advice, "np") as (_, metadata):
        return metadata


@contextmanager
def _opened(
    path: str | Path, formats: tuple[str, ...], advice: str, framework: str
) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework) as file:
            texts = file.metadata() or {}
            if formats and texts.get("format") not in formats:
                given = f"'{path}' has format '{texts.get('format')}', not '{' or '.join(formats)}'"
                raise InputError(f"{given}; {advice}")
            read = {name: json.loads(text) for name, text in texts.items() if name not in ("format", "digest")}
            yield file, _Metadata(path, {"format": texts.get("format"), **read})
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged: its metadata cannot be read; get it anew") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is not a safetensors file ({error}); {advice}") from error


def shipped(format: str) -> dict[str, Path]:
    """The files in checkpoints/ by name, sorted: those of a format, and unreadable ones, for `load` to tell."""
    found = {}
    for path in sorted(paths.checkpoints().glob("*.safetensors")):
        try:
            with safe_open(path, "np") as file:
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
    import torch

    return {"ppgn": version("ppgn"), "torch": torch.__version__, "python": platform.python_version()}
