"""`--multirun`: a run for every combination of values given with commas, by Hydra's sweepers and launchers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ppgn.cli import config as configs

FLAGS = ("--multirun", "-m")


def multirun(config: str, words: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """`run` for every combination that `words`, key=value[,value ...] each, make -> the largest exit status.

    Every run has a folder of its own as `out`, multirun/DATE/TIME/NUMBER unless hydra.sweep.dir says otherwise. Words
    that begin with hydra are for Hydra, as hydra/launcher=joblib. The words of the first run are checked against
    conf/CONFIG.yaml before any starts. Raises `InputError`.
    """
    ours = [word for word in words if word not in FLAGS and not word.startswith(("hydra.", "hydra/"))]
    asked = [configs.values(word) for word in ours]
    configs.compose(config, [f"{key}={first}" for key, (first, *_) in asked])
    statuses = []

    @hydra.main(version_base="1.3", config_path=None)
    def job(_: DictConfig) -> None:
        chosen = (line.removeprefix("+word").split("=", 1) for line in HydraConfig.get().overrides.task)
        own = [f"{asked[int(number)][0]}={value}" for number, value in chosen]
        out = HydraConfig.get().runtime.output_dir
        print(f"{config}: {' '.join(own)} -> {out}", file=sys.stderr)
        GlobalHydra.instance().clear()  # `compose` makes its own
        statuses.append(run([*own, f"out={out}"]))

    # Hydra is to put combinations together, nothing more: to it every word is a key of an empty configuration.
    sweep = [f"+word{number}={','.join(values)}" for number, (_, values) in enumerate(asked)]
    theirs = [word for word in words if word.startswith(("hydra.", "hydra/"))]
    before = sys.argv
    sys.argv = [before[0], "--multirun", "hydra.output_subdir=null", f"hydra.job.name={config}", *sweep, *theirs]
    try:
        job()
    finally:
        sys.argv = before
    return max(statuses, default=0)
