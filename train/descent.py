"""What trainings by one loss share: the learning rate, the count of steps, a state that fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ppgn.errors import InputError

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class Descent(lightning.LightningModule):
    """One loss and one optimiser, of the parameters that have a gradient.

    The learning rate grows over `lr_warmup` steps and falls as a half cosine to nothing at step `steps`. `steps_done`
    counts over all resumptions; every `log_every`-th loss goes to the log.
    """

    steps_done: Tensor

    def __init__(self, steps: int, *, optimizer: MakeOptimizer, lr_warmup: int, log_every: int) -> None:
        super().__init__()
        self.steps, self.make_optimizer, self.lr_warmup, self.log_every = steps, optimizer, lr_warmup, log_every
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))

    def configure_optimizers(self) -> Any:
        """The optimiser and its learning rate, step by step."""
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        scheduler = LambdaLR(optimizer, lambda step: warmed_cosine(step, self.lr_warmup, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of something else."""
        known = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        if known != {name: value.shape for name, value in self.state_dict().items()}:
            raise InputError("training: last.ckpt is of another model; give resume=false, or another out")

    def noted(self, loss: Tensor) -> Tensor:
        """The loss, written to the log where it is its turn."""
        if int(self.steps_done) % self.log_every == 0:
            self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update."""
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1


def warmed_cosine(step: int, warmup: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: a line up to step `warmup` times a half cosine."""
    falling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, steps)))
    return min(1.0, (step + 1) / max(1, warmup)) * falling
