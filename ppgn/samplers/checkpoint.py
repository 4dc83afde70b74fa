"""A run of chains in one safetensors file, from which it goes on: bit for bit on a CPU, up to rounding on CUDA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgn import files
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
        files.save(path, tensors, FORMAT, run=run, progress=progress)

    @staticmethod
    def load(path: Path, run: Mapping[str, Any], device: torch.device) -> ChainState:
        """Read what `save` wrote. Raises `InputError` for any other file and for one of a run with other settings."""
        tensors, metadata = files.load(path, FORMAT, advice="delete it to start anew")
        for name, value in json.loads(json.dumps(run)).items():
            was = metadata["run"].get(name)
            if was != value:
                given = f"the chains in '{path}' ran with {name}={was}, now {name}={value} is asked for"
                raise InputError(f"{given}; go on with the old value, or delete the file to start anew")
        progress = metadata["progress"]
        kept = tuple(
            Kept(step, target, *(tensors[f"kept.{name}"][row] for name in TENSORS))
            for row, (step, target) in enumerate(progress["kept"])
        )

        def below(prefix: str) -> dict[str, Tensor]:
            named = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            return {name: value.to(device) for name, value in named.items()}

        evaluation, memory = Evaluation(**below("evaluation.")), below("memory.")
        state = State(tensors["code"].to(device), evaluation, tensors["alive"].to(device), memory)
        return ChainState(state, progress["step"], kept, progress["noise"])
