"""What happens beside training: exports, pictures, and the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tqdm import tqdm

from ppgn.media import images
from ppgn.model import PPGN
from train.data import ArrayData, FolderData, steps_done


class Periodic(lightning.Callback):
    """Calls `write` every `every_steps` steps and at the end, where no step is without it."""

    written = -1  # steps done at the last call

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write after every `every_steps`-th step."""
        if steps_done(module) % self.every_steps == 0:
            self.on_train_end(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write what was reached, unless that was just done."""
        if steps_done(module) != self.written:
            self.written = steps_done(module)
            self.write(trainer, module)

    def write(self, trainer: lightning.Trainer, module: Any) -> None:
        """Called in every process, with the trainer and what it trains."""
        raise NotImplementedError


class HasAverage(Protocol):
    """A training module that can hand out what it would ship."""

    def averaged(self) -> PPGN:
        """The model with averaged weights."""
        ...


class Export(Periodic):
    """Writes the averaged model and a picture of what it does.

    `folder/NAME.safetensors` is a PPGN checkpoint; `folder/preview.png` shows held-out originals over their
    reconstructions and also goes to TensorBoard.
    """

    def __init__(self, folder: Path, name: str, every_steps: int, previews: int) -> None:
        super().__init__(every_steps)
        self.folder, self.name, self.previews = folder, name, previews

    @torch.no_grad()
    def write(self, trainer: lightning.Trainer, module: Any) -> None:
        """Write both, in the first process."""
        if not trainer.is_global_zero:
            return
        model, step = cast(HasAverage, module).averaged(), steps_done(module)
        model.save(self.folder / f"{self.name}.safetensors", card={"name": self.name, "step": step})
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ArrayData | FolderData)
        real = data.spread("val", self.previews).to(module.device) / 255
        rows = torch.cat([real, model.generator(model.encoder(real)).float()])
        picture = images.grid(rows, columns=self.previews)
        images.write(self.folder / "preview.png", picture)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_image("reconstructions", np.asarray(picture), step, dataformats="HWC")


class SaveLast(lightning.Callback):
    """Writes all that a resumption needs to `path` every `minutes` minutes, whole or not at all, and at the end.

    Lightning's own checkpoint callback does not count minutes where the module optimises by hand.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.minutes = path, minutes
        self.saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time; the first process decides for all."""
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= 60 * self.minutes):
            self.on_train_end(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save what was reached."""
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.path)
        self.saved = time.monotonic()


class Progress(lightning.Callback):
    """A bar on stderr: the steps of `steps` that are done, over all resumptions, and what was logged last."""

    bar: tqdm[NoReturn] | None = None

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on; the bar appears with the first step, so that an error before it stays a single line."""
        if trainer.is_global_zero:
            done, interval = steps_done(module), 0.1 if sys.stderr.isatty() else 10.0
            self.bar = self.bar or tqdm(total=self.steps, initial=done - 1, unit="step", mininterval=interval)
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in trainer.progress_bar_metrics.items()}, False)
            self.bar.update(done - self.bar.n)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()


class Stop(lightning.Callback):
    """Ends training after `steps` steps, counted over all resumptions, or `minutes` minutes from this start."""

    def __init__(self, steps: int, minutes: float | None = None) -> None:
        self.steps, self.minutes = steps, minutes
        self.started = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock; a finished training that is started again takes no further step."""
        self.started = time.monotonic()
        self._stop(trainer, module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask the trainer to stop once the steps are done or the time is over."""
        self._stop(trainer, module)

    def _stop(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        late = self.minutes is not None and time.monotonic() - self.started >= 60 * self.minutes
        done = steps_done(module) >= self.steps
        trainer.should_stop = trainer.should_stop or trainer.strategy.broadcast(late or done)
