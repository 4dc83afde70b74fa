"""`--multirun`: a run for every combination of values given with commas, by Hydra's sweepers and launchers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ppgn.cli import config as configs
from ppgn.cli import overrides
from ppgn.errors import InputError


def multirun(words: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """`run` for every combination that `words`, a verb and key=value[,value ...] each, make -> the largest exit status.

    Every run has a folder of its own as `out`, multirun/DATE/TIME/NUMBER unless hydra.sweep.dir says otherwise. Words
    that begin with hydra are for Hydra, as hydra/launcher=joblib. The words of the first run are checked against
    conf/ before any starts. Raises `InputError`.
    """
    verb = list(words[: 2 if words[0] == "train" else 1])
    own = [word for word in words[len(verb) :] if word not in ("--multirun", "-m")]
    theirs = [word for word in own if word.startswith(("hydra.", "hydra/"))]
    asked = [overrides.values(word) for word in own if word not in theirs]
    check = configs.compose if len(verb) > 1 else configs.read
    check("_".join(verb), [f"{key}={first}" for key, (first, *_) in asked])
    statuses = []

    @hydra.main(version_base="1.3", config_path=None)
    def job(_: DictConfig) -> None:
        chosen = (line.removeprefix("+word").split("=", 1) for line in HydraConfig.get().overrides.task)
        line = [*verb, *(f"{asked[int(number)][0]}={value}" for number, value in chosen)]
        out = HydraConfig.get().runtime.output_dir
        print(f"{' '.join(line)} -> {out}", file=sys.stderr)
        GlobalHydra.instance().clear()  # `configs.compose` makes its own
        statuses.append(run([*line, f"out={out}"]))

    # Hydra is to put combinations together, nothing more: to it every word is a key of an empty configuration, so that
    # what is no key of Hydra's grammar (a class name, module:Class, a key of the library's functions) may be swept too.
    sweep = [f"+word{number}={','.join(values)}" for number, (_, values) in enumerate(asked)]
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra itself ends the process
    plain = ["--multirun", "hydra.output_subdir=null", f"hydra.job.name={'_'.join(verb)}"]
    sys.argv = [before[0], *plain, *sweep, *theirs]
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"Hydra cannot start the runs: {error}") from error
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        os.environ |= {} if full is None else {"HYDRA_FULL_ERROR": full}
    return max(statuses, default=0)
