"""`ppgn evaluate`: words to the arguments of a function of `ppgn.evaluation`, whose table is printed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ppgn import evaluation
from ppgn.cli import config as configs
from ppgn.errors import InputError, unknown

WHAT = ("reconstruction", "samples", "variants", "inpainting", "places", "captions", "units")
CHANGES = {"places": ["condition=places"], "captions": ["condition=caption"]}
CHANGES["units"] = ["condition=unit", "condition.layer=null"]


def main(words: Sequence[str]) -> int:
    """Run `ppgn evaluate` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    what, words = configs.take(words, "what")
    if what is None:
        raise InputError("what is missing: add what=VALUE")
    if what not in WHAT:
        raise unknown("what", str(what), WHAT)
    function = getattr(evaluation, str(what))
    given = _given(what, words, inspect.signature(function).parameters)
    given["out"] = Path(str(given.get("out") or Path("outputs") / f"evaluate-{what}"))
    table = function(**given, progress=True)
    print(f"{table}\n-> {given['out']}")
    return 0


def _given(what: str, words: Sequence[str], known: Any) -> dict[str, Any]:
    more = {}
    if what == "variants":
        asked, words = configs.take(words, "experiment")
        more = {} if asked is None else {"experiment": asked if isinstance(asked, list) else [asked]}
    config, _ = configs.compose("evaluate", [f"what={what}", *CHANGES.get(what, []), *words])
    typed = {word.split("=")[0].lstrip("+").split(".")[0] for word in words}
    if "experiment" in typed:
        typed |= {"model", "prior", "sampler"}
    values: Any = OmegaConf.to_container(config, resolve=True)
    for key in typed - {*known} - {"experiment"}:
        raise InputError(f"{key}= cannot be used with what={what}; leave it out")
    return {key: values[key] for key in typed & {*known}} | more
