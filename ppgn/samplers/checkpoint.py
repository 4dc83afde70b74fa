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
ADVICE = "delete it to start anew"
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
        """Read what `save` wrote.

        Raises `InputError` for any other file, for a damaged one, and for one of a run with other settings.
        """
        tensors, metadata = files.load(path, FORMAT, advice=ADVICE)
        saved, progress = metadata["run"], metadata["progress"]
        try:
            for name, value in json.loads(json.dumps(run)).items():
                if saved.get(name) != value:
                    given = f"the chains in '{path}' ran with {name}={saved.get(name)}, now {name}={value} is asked for"
                    raise InputError(f"{given}; go on with the old value, or delete the file to start anew")
            steps, kept = progress["step"], [(int(step), int(target)) for step, target in progress["kept"]]
            calls = progress["noise"].get("calls", {})
            if type(steps) is not int or not all(type(call) is int for call in calls.values()):
                raise TypeError("numbers of steps that are none")

            def below(prefix: str) -> dict[str, Tensor]:
                named = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
                return {name: value.to(device) for name, value in named.items()}

            evaluation, memory = Evaluation(**below("evaluation.")), below("memory.")
            state = State(tensors["code"].to(device), evaluation, tensors["alive"].to(device), memory)
            stacks = [tensors[f"kept.{name}"] for name in TENSORS] if kept else []
            own = [state.code, state.alive, *rows.tensors(evaluation).values()]
            lengths = {len(value) for value in (*own, *(row for stack in stacks for row in stack))}
            if lengths != {len(run["seeds"])} or {len(stack) for stack in stacks} - {len(kept)}:
                raise ValueError("columns of unequal lengths")
            if state.alive.dtype != torch.bool or not all(
                value.is_floating_point() for value in own if value is not own[1]
            ):
                raise TypeError("columns of other types")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"'{path}' is damaged ({error}); {ADVICE}") from error
        shown = tuple(Kept(*number, *(stack[row] for stack in stacks)) for row, number in enumerate(kept))
        return ChainState(state, steps, shown, progress["noise"])
