"""What the training programs share: a configuration becomes objects, and a run that goes on where it stopped."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.seed import reset_seed
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from ppgn import arguments, folders, paths
from ppgn.errors import InputError, library, why
from ppgn.networks.network import Network
from train.shares import first

Run = TypeVar("Run", bound=Callable[..., Any])
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]

# What Lightning and its libraries say of themselves, and of what is meant to be so.
NOISE = (
    r".*(LeafSpec.*is deprecated|does not have many workers|in eval mode|weights_only|lr_scheduler\.step\(\))",
    r".*(The `srun` command is available|no `IterableDataset`.*`__len__`|Experiment logs directory .* exists)",
    r".*Grad strides do not match bucket view strides",  # of 1x1 convolutions, where the two are the same
)


def build(config: DictConfig, **more: Any) -> Any:
    """The object that a configuration with `_target_` describes; `more` are further arguments.

    Raises `InputError` where the object's own class refuses its arguments.
    """
    try:
        return instantiate(config, **more)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        raise cause or InputError(
            f"cannot build {config._get_full_key(None)}: {why(error.__cause__ or error)}"
        ) from error


def prepare(config: DictConfig) -> None:
    """Seed everything, in silence. Raises `InputError` for counts that cannot be, and where an extra is missing."""
    positive = ("export_every", "training.log_every", "data.size", "data.batch_size", "data.limit")
    for key, least in (("seed", 0), ("steps", 0), *((key, 1) for key in positive)):
        if (count := OmegaConf.select(config, key)) is not None:
            arguments.whole(key, count, least)
    if "TensorBoard" in str(OmegaConf.select(config, "trainer.logger._target_")):
        library("tensorboard", "training writes its log with TensorBoard", "train")
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    lightning.seed_everything(config.seed, workers=True, verbose=False)


def alone(run: Run) -> Run:
    """A decorator of programs, which keeps other trainings out of `out`; of several processes the first looks.

    The folder must hold no results but those that the program goes on with, or may overwrite. Raises `InputError`.
    """

    @wraps(run)
    def guarded(config: DictConfig, *options: Any) -> Any:
        if not first():
            return run(config, *options)
        folder = Path(config.out).expanduser()
        caches = {Path(config[key]).expanduser() for key in ("codes", "features") if config.get(key)}
        with folders.locked(folder):
            if (last := last_state(config)) is not None:
                _check_state(last)
            else:
                found = [path for path in folders.find(folder, "last.ckpt", "*.safetensors") if path not in caches]
                more = "resume=true to go on with it" if (folder / "last.ckpt").exists() else ""
                folders.check_free(found, config.overwrite, more)
            return run(config, *options)

    return cast(Run, guarded)


def _check_state(path: Path) -> None:
    """Raise `InputError` for a damaged state, by the checksums of the zip archive that it is, and by its keys."""
    reason = "it lacks what a training goes on from"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if broken is None and {"state_dict", "optimizer_states", "loops"} <= state.keys():
            return
    except Exception as error:  # of zipfile, pickle or torch, by what is damaged
        reason = why(error)
    raise InputError(f"'{path}' is damaged ({reason}); give resume=false overwrite=true, or another out")


def last_state(config: DictConfig) -> Path | None:
    """`out`/last.ckpt, which the run goes on from, if it exists and `resume` is true."""
    last = Path(config.out).expanduser() / "last.ckpt"
    return last if config.resume and last.exists() else None


def fit(
    config: DictConfig,
    module: Training,
    data: lightning.LightningDataModule,
    export: Callable[[Any, Any], None],
) -> None:
    """Train to `steps` or for `minutes`, from `last_state` on; `out` gets config.yaml and a state to resume.

    `export` is called with trainer and module every `export_every` steps, as `Periodic` does. Where the keyboard
    ended training, raises `KeyboardInterrupt` that says what is kept.
    """
    folder, progress = Path(config.out).expanduser(), config.trainer.enable_progress_bar
    course = Course(folder / "last.ckpt", config.steps, config.minutes, config.save_minutes, progress=progress)
    callbacks = [course, Periodic(config.export_every, export)]  # saved before pictures are drawn
    more = {"callbacks": callbacks, "default_root_dir": str(folder), "enable_progress_bar": False}
    if str(config.trainer.devices) != "1" or config.trainer.num_nodes != 1:
        more["strategy"] = module.together if config.trainer.strategy in ("auto", "ddp") else config.trainer.strategy
    trainer: lightning.Trainer = build(config.trainer, **more)
    paths.write(folder / "config.yaml", OmegaConf.to_yaml(config))
    if last_state(config) is None:
        (folder / "last.ckpt").unlink(missing_ok=True)  # of a training that this one replaces
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last_state(config), weights_only=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # of which Lightning made it: one that does not wait
            raise KeyboardInterrupt from error
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    if course.interrupted:
        kept = f"step {int(module.steps_done)} is finished and saved; the same command goes on from there"
        raise KeyboardInterrupt(*([kept] if trainer.is_global_zero else []))


class Training(lightning.LightningModule):
    """Counts `steps_done` over all resumptions, each of which goes on with the random numbers where the last stood.

    Its state leaves out what packages bring along, and what lies below the names in `left_out`. Several devices work
    as `together` says where the configuration leaves it to Lightning.
    """

    together = "auto"
    steps_done: Tensor
    random: Tensor | None = None
    left_out: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))

    def _left_out(self) -> tuple[str, ...]:
        brought = [name for name, part in self.named_modules() if isinstance(part, Network) and part.restorable]
        return tuple(f"{name}." for name in (*self.left_out, *brought))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random numbers, and of the state what a new module would not have."""
        state, left_out = checkpoint["state_dict"], self._left_out()
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith(left_out)}
        checkpoint["random"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill in what was left out. Raises `InputError` for the state of something else."""
        own, left_out = self.state_dict(), self._left_out()
        state = {k: v for k, v in own.items() if k.startswith(left_out)} | checkpoint["state_dict"]
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            raise InputError(
                "training: last.ckpt is of another model; give resume=false overwrite=true, or another out"
            )
        checkpoint["state_dict"], self.random = state, checkpoint.get("random")

    def on_train_start(self) -> None:
        """Go on with the random numbers where a resumed run stood; begin with those of the seed in every process."""
        reset_seed()  # as Lightning does where there are several
        if self.random is not None:
            torch.set_rng_state(self.random.cpu())


class Descent(Training):
    """One loss and one optimiser, of the parameters that have a gradient.

    The learning rate grows over `lr_warmup` steps and falls as a half cosine to nothing at step `steps`. Every
    `log_every`-th loss goes to the log.
    """

    def __init__(self, steps: int, *, optimizer: MakeOptimizer, lr_warmup: int, log_every: int) -> None:
        super().__init__()
        self.steps, self.make_optimizer, self.lr_warmup, self.log_every = steps, optimizer, lr_warmup, log_every

    def configure_optimizers(self) -> Any:
        """The optimiser and its learning rate, step by step."""
        optimizer = optimizer_of(self.make_optimizer, [p for p in self.parameters() if p.requires_grad])
        scheduler = LambdaLR(optimizer, lambda step: warmed_cosine(step, self.lr_warmup, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def noted(self, loss: Tensor) -> Tensor:
        """The loss, written to the log where it is its turn."""
        if int(self.steps_done) % self.log_every == 0:
            self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update."""
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1


def optimizer_of(make: MakeOptimizer, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of these parameters. Raises `InputError` where its class refuses its settings."""
    try:
        made = make(parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot build training.optimizer: {why(error)}") from error
    for group in made.param_groups:  # plain values, so that a stored state is read without any class
        group |= {key: tuple(value) for key, value in group.items() if isinstance(value, ListConfig)}
    return made


def warmed_cosine(step: int, warmup: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: a line up to step `warmup` times a half cosine."""
    falling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, steps)))
    return min(1.0, (step + 1) / max(1, warmup)) * falling


class Periodic(lightning.Callback):
    """Calls `write` with trainer and module every `every_steps` steps and at the end, in every process."""

    written = -1  # steps done at the last call

    def __init__(self, every_steps: int, write: Callable[[Any, Any], None]) -> None:
        self.every_steps, self.write = every_steps, write

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write after every `every_steps`-th step."""
        if int(module.steps_done) % self.every_steps == 0:
            self.on_train_end(trainer, module)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Write what was reached, unless that was just done."""
        if int(module.steps_done) != self.written:
            self.written = int(module.steps_done)
            self.write(trainer, module)


def write_report(path: Path | None, step: int, of: str, lines: Sequence[Mapping[str, float]]) -> None:
    """Print the figures of a step, a line each, and write {"step": `step`, `of`: `lines`} to `path`, if any."""
    for line in lines:
        print(f"step {step}: " + ", ".join(f"{key} {value:.4g}" for key, value in line.items()), flush=True)
    if path is not None:
        paths.write(path, json.dumps({"step": step, of: lines}, indent=1) + "\n")


class Course(lightning.Callback):
    """Ends training after `steps` steps, counted over all resumptions, or `minutes` minutes from this start.

    Writes all that a resumption needs to `path` every `save_minutes` minutes, whole or not at all, and at the end:
    Lightning's own checkpoint callback does not count minutes where the module optimises by hand. With `progress`, a
    bar on stderr shows the steps done and what was logged last; Lightning's own counts epochs.

    An interruption from the keyboard ends training after the step at hand, as if that were the last; a second one ends
    it at once.
    """

    bar: tqdm[NoReturn] | None = None
    interrupted = False

    def __init__(self, path: Path, steps: int, minutes: float | None, save_minutes: float, *, progress: bool) -> None:
        self.path, self.steps, self.progress = path, steps, progress
        self.minutes, self.save_minutes = minutes, save_minutes

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clocks; a finished training that is started again takes no further step."""
        self.started = self.saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # no other may choose what a signal does
            signal.signal(signal.SIGINT, self._interrupt)
        self._stop(trainer, module)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and stop if it is time, which the first process decides for all; move the bar on."""
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= 60 * self.save_minutes):
            self._save(trainer)
        self._stop(trainer, module)
        if self.progress and trainer.is_global_zero:  # it appears now, so that an error before it stays a single line
            done, interval = int(module.steps_done), 0.1 if sys.stderr.isatty() else 10.0
            self.bar = self.bar or tqdm(total=self.steps, initial=done - 1, unit="step", mininterval=interval)
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in trainer.progress_bar_metrics.items()}, False)
            self.bar.update(done - self.bar.n)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Save what was reached, and leave the bar as it is."""
        self._save(trainer)
        if self.bar is not None:
            self.bar.close()

    def _save(self, trainer: lightning.Trainer) -> None:
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.path)
        self.saved = time.monotonic()

    def _stop(self, trainer: lightning.Trainer, module: Any) -> None:
        late = self.minutes is not None and time.monotonic() - self.started >= 60 * self.minutes
        done = int(module.steps_done) >= self.steps
        self.interrupted = trainer.strategy.broadcast(self.interrupted)
        trainer.should_stop = trainer.should_stop or self.interrupted or trainer.strategy.broadcast(late or done)

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if first():  # not by print, which may be what is interrupted
            os.write(2, b"\nppgn: ends after this step, which is saved; Ctrl-C once more ends at once\n")
