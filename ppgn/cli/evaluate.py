"""`ppgn evaluate`: words to a function of `ppgn.evaluation`, whose table is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ppgn import building
from ppgn.cli import config as configs
from ppgn.errors import InputError


def main(words: Sequence[str]) -> int:
    """Run `ppgn evaluate` with `words`, key=value each -> exit status 0. What can be refused is refused at once."""
    function, given, settings = configs.read("evaluate", words)
    given["out"] = str(given.get("out") or Path("outputs") / f"evaluate-{settings['what']}")
    try:
        table = building.locate(function)(**given, progress=True)
    except torch.OutOfMemoryError as error:
        raise InputError("device: it has too little memory for this; give a smaller batch_size") from error
    print(f"{table}\n-> {given['out']}")
    return 0
