"""`ppgn sample`: words to `ppgn.sample`, in one process or in several."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppgn import arguments
from ppgn.cli import config as configs
from ppgn.cli.distributed import workers
from ppgn.errors import InputError
from ppgn.sampling import sample


def main(words: Sequence[str]) -> int:
    """Run `ppgn sample` with `words`, key=value each -> exit status: 1 where every seed failed, else 0.

    What can be refused is refused before the sampling starts.
    """
    _, given, settings = configs.read("sample", words)
    named = settings["condition"]
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / slug(named, *arguments.targets(given.get("target", named))))
    devices, num_nodes = (arguments.whole(name, settings[name]) for name in ("devices", "num_nodes"))
    if given.get("animate") is not None and (devices, num_nodes) != (1, 1):
        raise InputError("animate cannot be used with several devices: each process sees its own chains; use devices=1")
    where = arguments.device(given.get("device", "auto"))
    with workers(devices, num_nodes, where, ["sample", *words]) as (device, worker):
        run = sample(**given | {"device": device}, progress=True, worker=worker)
    if worker.rank > 0:
        return 0
    print(run.summary())
    if run.samples is None or len(run.samples.failed) < len(run.walked):
        return 0
    advice = "lower sampler.lr or sampler.epsilon2" if "lr" in run.config["sampler"] else "lower sampler.epsilon2"
    print(f"ppgn: every seed failed on a number that is not finite; {advice}", file=sys.stderr)
    return 1


def slug(*words: Any) -> str:
    """A short name for a folder that says what was asked for."""
    text = "-".join(re.sub(r"\W+", "-", str(word).lower()).strip("-") for word in dict.fromkeys(words))
    return text[:80].strip("-")
