"""What the training scripts share: from words to an exit status, and a run that goes on where it stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning
from omegaconf import DictConfig, OmegaConf

from ppgn import paths
from ppgn.cli import config as configs
from ppgn.cli.multirun import FLAGS, multirun
from ppgn.errors import InputError
from train.callbacks import SaveLast, Stop


def command(name: str, words: Sequence[str], run: Callable[[DictConfig, dict[str, str]], object]) -> int:
    """Call `run` with conf/train_NAME.yaml under `words`, key=value each, and its options -> exit status.

    Bad input ends in status 2 and one line on stderr, with PPGN_DEBUG=1 in a traceback. With --multirun, a run for
    every combination of values given with commas.
    """
    try:
        if set(FLAGS) & set(words):
            return multirun(f"train_{name}", words, lambda own: command(name, own, run))
        run(*configs.compose(f"train_{name}", words))
    except InputError as error:
        if os.environ.get("PPGN_DEBUG") == "1":
            raise
        print(f"train/{name}.py: {error}", file=sys.stderr)
        return 2
    return 0


def last_state(cfg: DictConfig) -> Path | None:
    """`out`/last.ckpt, which the run goes on from, if it exists and `resume` is true."""
    last = Path(cfg.out).expanduser() / "last.ckpt"
    return last if cfg.resume and last.exists() else None


def fit(
    cfg: DictConfig, module: lightning.LightningModule, data: lightning.LightningDataModule, export: lightning.Callback
) -> None:
    """Train to `steps` or for `minutes`, from `last_state` on; `out` gets config.yaml and a state to resume."""
    folder = Path(cfg.out).expanduser()
    callbacks = [export, SaveLast(folder / "last.ckpt", cfg.save_minutes), Stop(cfg.steps, cfg.minutes)]
    trainer: lightning.Trainer = configs.build(cfg.trainer, callbacks=callbacks, default_root_dir=str(folder))
    paths.write(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    trainer.fit(module, datamodule=data, ckpt_path=last_state(cfg), weights_only=True)
