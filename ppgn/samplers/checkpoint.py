"""A run of chains in one safetensors file, from which it goes on: bit for bit on a CPU, up to rounding on CUDA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ppgn import paths
from ppgn.contracts import Evaluation, State
from ppgn.errors import InputError
from ppgn.samplers import rows

FORMAT = "ppgn-chains-2"
TENSORS = ("signals", "codes", "log_prob")  # that are kept of a state


@dataclass(frozen=True)
class Kept:
    """One state of a batch of chains as it is handed out, on the CPU."""

    step: int
    target: int
    signals: Tensor  # (B, *signal_shape), as G made them
    codes: Tensor  # (B, *code_shape)
    log_prob: Tensor  # (B,)

    @staticmethod
    def of(state: State, step: int, target: int) -> Kept:
        """Take `state`, reached after `step` steps under target number `target`."""
        tensors = state.evaluation.image, state.code, state.evaluation.log_condition
        return Kept(step, target, *(tensor.cpu() for tensor in tensors))


@dataclass(frozen=True)
class ChainState:
    """All that a run of chains is after `step` steps: its state, what it kept, and its noise's state dict."""

    state: State
    step: int
    kept: tuple[Kept, ...]
    noise: Mapping[str, Any]

    def save(self, path: Path, run: Mapping[str, Any]) -> None:
        """Write atomically, together with `run`, the JSON-able settings without which the chains would not be the same.

        Raises `InputError` where the system refuses to write.
        """
        state = self.state
        tensors = {"code": state.code, "alive": state.alive}
        tensors |= {f"evaluation.{name}": value for name, value in rows.tensors(state.evaluation).items()}
        tensors |= {f"memory.{name}": value for name, value in state.memory.items()}
        for name in TENSORS if self.kept else ():
            tensors[f"kept.{name}"] = torch.stack([getattr(kept, name) for kept in self.kept])
        progress = {"step": self.step, "noise": self.noise, "kept": [[kept.step, kept.target] for kept in self.kept]}
        metadata = {"format": FORMAT, "run": json.dumps(run), "progress": json.dumps(progress)}
        own = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        paths.write(path, save(own, metadata))

    @staticmethod
    def load(path: Path, run: Mapping[str, Any], device: torch.device) -> ChainState:
        """Read what `save` wrote. Raises `InputError` for any other file and for one of a run with other settings."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read the chains '{path}': {error}; delete the file to start anew") from error
        if metadata.get("format") != FORMAT:
            raise InputError(f"'{path}' holds no chains that this version can continue; delete it to start anew")
        _check_same_run(path, json.loads(metadata["run"]), json.loads(json.dumps(run)))
        progress = json.loads(metadata["progress"])
        kept = tuple(
            Kept(step, target, *(tensors[f"kept.{name}"][row] for name in TENSORS))
            for row, (step, target) in enumerate(progress["kept"])
        )
        here = {name: tensor.to(device) for name, tensor in tensors.items() if not name.startswith("kept.")}
        evaluation, memory = _below("evaluation.", here), _below("memory.", here)
        state = State(here["code"], Evaluation(**evaluation), here["alive"], memory)
        return ChainState(state, progress["step"], kept, progress["noise"])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _check_same_run(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise InputError(
                f"the chains in '{path}' ran with {name}={saved.get(name)}, now {name}={value} is asked for; "
                f"go on with the old value, or delete the file to start anew"
            )
