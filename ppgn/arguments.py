"""Arguments that many functions take, read and checked in one way: seeds, devices, whole numbers, shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch

from ppgn.errors import InputError, unknown

MOST_SEEDS = 1_000_000
_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def seeds(value: int | str | Iterable[int | str], name: str = "seeds") -> tuple[int, ...]:
    """Seeds as people write them: 3, "0-15", "0-3,8,10-12", [1, 4, 9] or range(8) -> (0, 1, 2, ...), in that order.

    Raises `InputError` for anything but whole numbers from 0 on, for a seed given twice, and for more than a million.
    """
    if isinstance(value, range) and len(value) > MOST_SEEDS:
        raise InputError(f"{name}={value} are more than {MOST_SEEDS:,} chains; start several runs")
    listed = [value] if isinstance(value, int | str) or not isinstance(value, Iterable) else list(value)
    shown = ",".join(map(str, listed))
    found: dict[int, None] = {}
    for part in (piece for item in listed for piece in str(item).split(",")):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 2**63:
            raise InputError(f"cannot read {name} '{part.strip()}'; expected 0-15, [1,4,9], 3 or 0-3,8,10-12")
        if last - first >= MOST_SEEDS - len(found):
            raise InputError(f"{name}={shown} are more than {MOST_SEEDS:,} chains; start several runs")
        again = next((seed for seed in range(first, last + 1) if seed in found), None)
        if again is not None:
            one = name.removesuffix("s")
            raise InputError(f"{one} {again} is given twice in {name}={shown}; give every {one} once")
        found |= dict.fromkeys(range(first, last + 1))
    if not found:
        raise InputError(f"{name} are none; expected 0-15, [1,4,9], 3 or 0-3,8,10-12")
    return tuple(found)


def device(name: str | torch.device) -> torch.device:
    """The device of a name, "auto" being the GPU if there is one. Raises `InputError` for one that is not there."""
    name, gpus = str(name), torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    choices = ["auto", "cpu", "cuda", *(f"cuda:{index}" for index in range(gpus))]
    if name in choices and (gpus or name == "cpu"):
        return torch.device(name)
    if name.startswith("cuda") and not gpus:
        raise InputError(f"device={name} cannot be used: no GPU is visible here; use device=cpu or leave it at auto")
    raise unknown("device", name, choices, "a GPU is cuda" if "gpu" in str(name).lower() else "")


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number. Raises `InputError` for anything else, below `least`, and from a billion on."""
    if type(value) is not int or not least <= value < 10**9:
        most = " and below 1,000,000,000" if type(value) is int and value > least else ""
        raise InputError(f"{name}={value} cannot be used; expected a whole number from {least} on{most}")
    return value


def names(key: str, value: Any, known: Iterable[str] | None = None) -> list[str]:
    """A name or a list of them, each once, of those `known`, which are "all". Raises `InputError` for anything else."""
    choices = list(known or ())
    wanted = choices if choices and value == "all" else value
    listed = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    if not listed or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
        raise InputError(f"{key}={value} cannot be used; expected a name, or a list of names")
    found = list(dict.fromkeys(map(str, listed)))
    for name in found:
        if choices and name not in choices:
            raise unknown(key, name, [*choices, "all"])
    return found


def share(name: str, value: Any) -> float:
    """A number above 0, at most 1. Raises `InputError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InputError(f"{name}={value} cannot be used; expected a number above 0, at most 1")
    return float(value)


def targets(value: Any) -> tuple[str | int | None, ...]:
    """What is asked for, a name or an index, or a list of them; (None,) for None. Raises `InputError`."""
    listed = list(value) if isinstance(value, list | tuple) else [value]
    if not listed:
        raise InputError("target=[] is empty; expected at least one name or index")
    for one in listed:
        if (one is None and len(listed) == 1) or (
            isinstance(one, str | int) and not isinstance(one, bool) and one != ""
        ):
            continue
        raise InputError(f"target '{one}' cannot be used; expected a name or an index, or a list of them")
    return tuple(listed)


def target(value: Any, what: str) -> str | int | None:
    """What is asked for where it is one thing; `what` says so. Raises `InputError` for a list of several."""
    wanted, *more = targets(value)
    if more:
        raise InputError(f"target={[wanted, *more]} cannot be used; {what}")
    return wanted
