"""What the training programs share: objects from a configuration, and a run that goes on where it stopped."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ppgn import paths
from ppgn.errors import InputError
from train.callbacks import Progress, SaveLast, Stop

# What Lightning and its libraries say of themselves, and of what is meant to be so.
NOISE = (
    r".*LeafSpec.*is deprecated",
    r".*does not have many workers",
    r".*in eval mode",
    r".*weights_only",
    r".*The `srun` command is available",
    r".*no `IterableDataset`.*`__len__`",
    r".*Experiment logs directory .* exists",
    r".*lr_scheduler\.step\(\)",
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
        raise cause or InputError(f"cannot build {config._get_full_key(None)}: {error.__cause__ or error}") from error


def whole(config: DictConfig, *keys: str) -> None:
    """Raise `InputError` unless there is a whole number from 1 on at each of `keys`."""
    for key in keys:
        if type(config[key]) is not int or config[key] < 1:
            raise InputError(f"{key}={config[key]} cannot be used; expected a whole number from 1 on")


def prepare(config: DictConfig) -> None:
    """Seed everything, in silence."""
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    lightning.seed_everything(config.seed, workers=True, verbose=False)


def last_state(config: DictConfig) -> Path | None:
    """`out`/last.ckpt, which the run goes on from, if it exists and `resume` is true."""
    last = Path(config.out).expanduser() / "last.ckpt"
    return last if config.resume and last.exists() else None


def fit(
    config: DictConfig,
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    export: lightning.Callback,
) -> None:
    """Train to `steps` or for `minutes`, from `last_state` on; `out` gets config.yaml and a state to resume."""
    folder = Path(config.out).expanduser()
    callbacks: list[lightning.Callback] = [
        export,
        SaveLast(folder / "last.ckpt", config.save_minutes),
        Stop(config.steps, config.minutes),
    ]
    if config.trainer.enable_progress_bar:  # Lightning's own counts epochs, of which there are none
        callbacks.append(Progress(config.steps))
    more = {"callbacks": callbacks, "default_root_dir": str(folder), "enable_progress_bar": False}
    trainer: lightning.Trainer = build(config.trainer, **more)
    paths.write(folder / "config.yaml", OmegaConf.to_yaml(config))
    trainer.fit(module, datamodule=data, ckpt_path=last_state(config), weights_only=True)
