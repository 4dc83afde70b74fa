"""`ppgn train`: a training program of the package `train`, which a wheel carries inside this one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from typing import cast

from ppgn import paths
from ppgn.cli import config as configs
from ppgn.cli import help
from ppgn.errors import InputError, check_known


def main(words: Sequence[str]) -> int:
    """Run a program with `words`, its name and key=value each -> exit status 0. Raises `InputError`."""
    program, *others = words
    hint = f"there are {', '.join(help.programs())}; see ppgn train --help"
    check_known("training program", program, help.programs(), hint)
    config, options = configs.compose(f"train_{program}", others)
    _import()
    try:
        module = importlib.import_module(f"train.{program}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("ppgn", "train"):
            raise
        raise InputError(f"training needs {error.name}: pip install 'ppgn[train]'") from error
    try:
        module.run(config, options)
    except InputError as error:  # that of a worker holds the way there
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error
    return 0


def _import() -> None:
    """Import the package `train` from where it came along, whatever else bears that name."""
    folder = paths.train()
    known = sys.modules.get("train")
    if known is None or str(folder) not in list(known.__path__):
        spec = spec_from_file_location("train", folder / "__init__.py", submodule_search_locations=[str(folder)])
        sys.modules["train"] = module_from_spec(cast(ModuleSpec, spec))
