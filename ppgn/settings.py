"""What a run is asked for, as a file has it: the whole of it, what of it decides a seed's samples, and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ppgn.model
from ppgn import building, files, folders, paths
from ppgn.contracts import Prior
from ppgn.model import PPGN
from ppgn.samplers.sampler import Sampler

# What does not change a seed's samples.
FREE = (
    *("seeds", "shard", "out", "overwrite", "resume", "export", "labels", "animate", "animate_every", "batch_size"),
    *("device", "devices", "oversubscribe", "cluster", "workers", "progress", "trust", "judge", "scale", "command"),
    *("best", "rank"),
)


def called(group: str, given: Any) -> str:
    """What a part is called in a report: its name, that of its class, or its expression."""
    if isinstance(given, Mapping):
        if "expression" in given:
            return str(given["expression"])
        target = str(given.get("_target_"))
        same = (name for name in paths.options(group) if building.node(group, name).get("_target_") == target)
        return next(same, target)
    return str(given) if isinstance(given, str | Path) else str(getattr(given, "name", None) or type(given).__name__)


def as_config(
    given: Mapping[str, Any], net: PPGN, walker: Sampler, prior: Prior, sampler: Any, condition: Any
) -> dict[str, Any]:
    """All that the run was asked for, plain and nested, as config.yaml has it."""
    left_out = ("progress", "shard", "overwrite", "command")
    config = {key: plain(value) for key, value in given.items() if key not in left_out}
    named = called("condition", condition)
    described = {"expression": named}
    if named in paths.options("condition"):
        changes = {k: v for k, v in condition.items() if k != "expression"} if isinstance(condition, Mapping) else {}
        described |= building.merged(building.node("condition", named), changes)
    elif isinstance(condition, Mapping):
        described |= condition
    config["condition"] = plain(described)
    if callable(given["target"]) or not isinstance(config["target"], str | int | list):
        config["target"] = named
    by_name = isinstance(given["model"], str | Path) and not str(given["model"]).startswith("hf:")  # which has a commit
    config["model"] = called("model", given["model"]) if by_name else str(net.name)
    config["prior"] = net.name_of(prior)
    config["sampler"] = {"_target_": f"{type(walker).__module__}.{type(walker).__qualname__}", **plain(asdict(walker))}
    return config


def as_typed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.yaml says by the keys that people type: dotted, with the names of condition and sampler."""
    parts = {key: config.get(key) for key in ("condition", "sampler")}
    named = {key: {**part, "": called(key, part)} for key, part in parts.items() if isinstance(part, Mapping)}
    given = dotted({**config, **named}).items()
    return {k.removesuffix("."): v for k, v in given if "_target_" not in k and k != "condition.expression"}


def plain(value: Any) -> Any:
    """What YAML and JSON can say of a value."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)[:200]


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides what a seed's samples are, by dotted key."""
    return {key: value for key, value in dotted(config).items() if key.partition(".")[0] not in FREE}


def contents(given: Mapping[str, Any], net: PPGN) -> dict[str, str]:
    """Of all that was given as an object or in a file, whose name does not tell it from others, a digest."""
    found: dict[str, str] = {}
    for key in ("init", "model", "condition", "prior", "sampler", "target"):
        found |= _file_digests(key, given[key])
    if isinstance(given["init"], Tensor):
        found["init"] = _digest([given["init"]])
    if isinstance(condition := given["condition"], nn.Module):
        plain = [
            (name, type(module).__qualname__, key, value)
            for name, module in condition.named_modules()
            for key, value in vars(module).items()
            if key != "training" and isinstance(value, bool | int | float | str)
        ]
        found["condition"] = _digest([*condition.parameters(), *condition.buffers()], repr(plain))
    if net.name is None:
        found["model"] = _digest([*net.parameters(), *net.buffers()])
    elif "model" not in found and net.name in (shipped := files.shipped(ppgn.model.FORMAT)):
        found["model"] = files.listed(shipped[net.name]) or folders.digest(shipped[net.name])
    if isinstance(prior := given["prior"], nn.Module):
        found["prior"] = _digest([*prior.parameters(), *prior.buffers()])
    return {f"contents of {key}": digest for key, digest in found.items()}


def _file_digests(key: str, value: Any) -> dict[str, str]:
    """By key, digests of the files that a value names, alone, as FILE:Class, or below the keys of a mapping."""
    if isinstance(value, Mapping):
        return {name: d for inner, own in value.items() for name, d in _file_digests(f"{key}.{inner}", own).items()}
    if not isinstance(value, str | Path):
        return {}
    for text in (str(value), str(value).rpartition(":")[0]):
        path = Path(text).expanduser()
        with suppress(OSError):  # it is too long for a name
            if path.suffix and path.is_file():
                return {key: folders.digest(path)}
    return {}


def _digest(tensors: Iterable[Tensor], said: str = "") -> str:
    """SHA-256 of text and tensors."""
    digest = hashlib.sha256(said.encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
