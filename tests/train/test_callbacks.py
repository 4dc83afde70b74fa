"""What happens every so many steps, and at the end but once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from train.callbacks import Periodic


class Noting(Periodic):
    def __init__(self, every_steps: int) -> None:
        super().__init__(every_steps)
        self.noted: list[int] = []

    def write(self, trainer: Any, module: Any) -> None:
        self.noted.append(int(module.get_buffer("steps_done")))


def test_writes_every_so_many_steps_and_what_was_reached() -> None:
    for steps, expected in ((5, [2, 4, 5]), (4, [2, 4]), (0, [0])):
        callback: Any = Noting(2)
        for step in range(1, steps + 1):
            module = SimpleNamespace(get_buffer=lambda _, step=step: torch.tensor(step))
            callback.on_train_batch_end(None, module, None, None, 0)
        callback.on_train_end(None, SimpleNamespace(get_buffer=lambda _, steps=steps: torch.tensor(steps)))
        assert callback.noted == expected
