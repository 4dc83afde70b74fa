"""Where the files that come with the package are, and how a result is put in place whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ppgn.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def _shipped(name: str) -> Path:
    """A folder that a wheel carries inside the package and a checkout keeps beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def conf() -> Path:
    """The folder of Hydra configurations."""
    return _shipped("conf")


def checkpoints() -> Path:
    """The folder of shipped checkpoints, NAME.safetensors each."""
    return _shipped("checkpoints")


def cache() -> Path:
    """The folder for what can be found out again, the user's own; XDG_CACHE_HOME moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ppgn"


def train() -> Path:
    """The folder of the package `train`."""
    return _shipped("train")


def options(group: str) -> list[str]:
    """The names that a configuration group offers, sorted: `options("sampler")` -> ["ppgn", "released"]."""
    return sorted(path.stem for path in (conf() / group).glob("*.yaml"))


def write(path: Path, data: bytes | str | Iterable[str]) -> None:
    """Write a file so that `path` holds either what it held before or all of `data`, and make its folder if need be.

    Lines of text are written as they come.

    Raises `InputError` where the system refuses: no permission, no space left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(data, bytes | str):
                temporary.write_bytes(data.encode() if isinstance(data, str) else data)
            else:
                with temporary.open("w", encoding="utf-8") as file:
                    file.writelines(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; make room or choose another place") from error


def as_yaml(config: Mapping[str, Any]) -> str:
    """The text of a config.yaml, its keys in the order given."""
    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return text


def as_json(report: Mapping[str, Any]) -> str:
    """The text of a report.json, a line for every value."""
    return json.dumps(report, indent=1, ensure_ascii=False)


def check_writable(folder: Path, size: int) -> None:
    """Raise `InputError` unless `size` bytes could be written into `folder`, which need not exist yet."""
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise InputError(f"cannot write into '{folder}': '{above}' is a file; choose another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"cannot write into '{folder}': '{above}' is read-only for you; choose another place")
    free = shutil.disk_usage(above).free
    if free < size:
        needed = f"{size / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free"
        raise InputError(f"cannot write into '{folder}': {needed}; make room or choose another place")
