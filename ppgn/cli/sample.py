"""`ppgn sample`: words to `ppgn.sample`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppgn import arguments
from ppgn.cli import config as configs
from ppgn.cli.calls import slug
from ppgn.sampling import sample


def main(words: Sequence[str]) -> int:
    """Run `ppgn sample` with `words`, key=value each -> exit status: 1 where every seed failed, else 0."""
    _, given, settings = configs.read("sample", words)
    given["out"] = folder(given, settings) if given.get("out") is None else given["out"]
    try:
        run = sample(**given, progress=True, command=shlex.join(["ppgn", "sample", *words]))
    except KeyboardInterrupt as error:
        if error.args:
            print(f"ppgn: interrupted; {error}", file=sys.stderr)
        raise
    print(run.summary())
    if len(run.failed) < len(run.walked) or not run.walked:
        return 0
    advice = "lower sampler.lr or sampler.epsilon2" if "lr" in run.config["sampler"] else "lower sampler.epsilon2"
    print(f"ppgn: every seed failed on a number that is not finite; {advice}", file=sys.stderr)
    return 1


def folder(given: dict[str, Any], settings: dict[str, Any]) -> str:
    """Where the results go if nobody says: named after condition, network and targets, or after the run repeated."""
    if settings["config"] is not None:
        place = Path(str(settings["config"])).expanduser()
        return f"{place.parent if place.suffix else place}-again"
    named, condition = settings["condition"], given.get("condition")
    network = (condition.get("network") or {}).get("name") if isinstance(condition, dict) else None
    who = [network] if network and named == "imagenet" else [named, *filter(None, [network])]
    return str(Path("outputs") / slug(*who, *arguments.targets(given.get("target", named))))
