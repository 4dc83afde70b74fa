"""Verbs that call the function which conf/VERB.yaml names: words to its arguments, what it gives to lines."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from ppgn import building, folders, paths
from ppgn.cli import config as configs
from ppgn.cli import fields
from ppgn.errors import InputError

LISTS = ("models", "classes", "units")


@dataclass(frozen=True)
class Asked:
    """What was typed: words of a verb, the function they ask for, its arguments, and further settings."""

    verb: str
    words: Sequence[str]
    function: Callable[..., Any]
    given: dict[str, Any]
    settings: Mapping[str, Any]

    def call(self, out: str, **more: Any) -> Any:
        """Call the function; its results go into the folder `out` where no other one was typed."""
        if self.given.get("out") is None:
            self.given["out"] = out
        return self.function(**self.given, progress=True, **more)


@dataclass(frozen=True)
class Plain:
    """A verb that says one line of its results: what their folder is called, the line, whether all of them failed."""

    named: Callable[[Mapping[str, Any], Mapping[str, Any]], str]  # of arguments and settings
    line: Callable[[Any], str]
    failed: Callable[[Any], bool] = lambda done: False

    def __call__(self, asked: Asked) -> int:
        """Exit status: 1 where all failed, else 0."""
        named = self.named(asked.given, asked.settings)
        done = asked.call(f"outputs/{asked.verb}{named and f'-{named}'}")
        print(f"{self.line(done)} -> {folders.of(asked.given['out'])}")
        return int(self.failed(done))


def slug(*words: Any) -> str:
    """A short name for a folder that says what was asked for."""
    text = "-".join(re.sub(r"\W+", "-", word.lower()).strip("-") for word in dict.fromkeys(map(str, words)))
    return text[:80].strip("-")


def _unit(instead: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], str]:
    """A unit's layer and number, with what stands for the layer where none is given."""
    return lambda given, _: slug(given.get("layer") or instead, given["unit"])


def _facets(done: Any) -> str:
    return f"{len(done)} facets of {sum(len(facet.members) for facet in done.found)} pictures"


def _search(done: Any) -> str:
    best = " ".join(f"{value:.4g}" for value in done.best()[1][0].tolist())
    return f"{done.generation} generations of {done.space.population} pictures, best score {best}"


def _evaluate(asked: Asked) -> int:
    import torch

    try:
        table = asked.call(f"outputs/evaluate-{asked.settings['what']}")
    except torch.OutOfMemoryError as error:
        raise InputError("device: it has too little memory for this; give a smaller batch_size") from error
    print(f"{table}\n-> {asked.given['out']}")
    return 0


def _inpaint(asked: Asked) -> int:
    from ppgn.inpainting.filling import ALONE

    if asked.given.get("condition") == ALONE and asked.given.get("target") is None:
        raise InputError(f"condition={ALONE} has nothing to ask for: add target=NAME")
    completed = asked.call(f"outputs/inpaint-{Path(str(asked.given['image'])).stem}")
    print(f"{completed.summary()} -> {completed.folder}")
    return 0 if completed.failed < len(completed) else _failed("try other settings of the sampler")


def _sample(asked: Asked) -> int:
    run = asked.call(folder(asked.given, asked.settings), command=shlex.join(["ppgn", "sample", *asked.words]))
    print(run.summary())
    if len(run.failed) < len(run.walked) or not run.walked:
        return 0
    return _failed(f"lower {'sampler.lr or ' if 'lr' in run.config['sampler'] else ''}sampler.epsilon2")


def _failed(advice: str) -> int:
    print(f"ppgn: every seed failed on a number that is not finite; {advice}", file=sys.stderr)
    return 1


def folder(given: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Where samples go if nobody says: named after condition, network and targets, or after the run repeated."""
    if settings["config"] is not None:
        place = Path(str(settings["config"])).expanduser()
        return f"{place.parent if place.suffix else place}-again"
    named, condition = settings["condition"], given.get("condition")
    network = (condition.get("network") or {}).get("name") if isinstance(condition, dict) else None
    who = [network] if network and named == "imagenet" else [named, *filter(None, [network])]
    target = given.get("target", named)
    return f"outputs/{slug(*who, *(target if isinstance(target, list) else [target]))}"


def _alone(asked: Asked) -> int:
    """A verb without a folder of results, which says the summary of what it gives, if anything."""
    if (done := asked.function(**asked.given)) is not None:
        print(done.summary())
    return 0


CALLS: Mapping[str, Callable[[Asked], int]] = {
    "card": Plain(
        lambda given, _: slug(given["layer"], given.get("units", given.get("unit"))),
        lambda done: f"{len(done.pages)} pages",
    ),
    "deconv": Plain(_unit("output"), lambda done: f"{len(done.maps)} maps"),
    "dissect": Plain(lambda given, _: slug(*filter(None, (given.get("model"), given["layer"]))), repr),
    "edit": Plain(
        lambda given, _: Path(str(given["image"])).stem,
        lambda done: done.summary(),
        lambda done: done.failed == len(done),
    ),
    "evaluate": _evaluate,
    "facets": Plain(lambda given, settings: slug(settings["condition"], given["target"]), _facets),
    "import": _alone,
    "inpaint": _inpaint,
    "invert": Plain(lambda given, _: slug(Path(str(given["image"])).stem, given["layer"]), repr),
    "maximize": Plain(_unit("class"), repr),
    "patches": Plain(_unit("output"), lambda done: f"{len(done.found)} units, {done.config['n']} patches each"),
    "sample": _sample,
    "search": Plain(lambda *_: "", _search),
    "serve": _alone,
}


def of(verb: str) -> Callable[[Sequence[str]], int]:
    """What runs a verb, given its words, and gives the exit status, with all that it takes imported."""
    if verb in CALLS:
        target = str(fields.of_file(paths.conf() / f"{verb}.yaml")["_target_"].default)
        importlib.import_module(target.rpartition(".")[0])
        return partial(_run, verb)
    module = importlib.import_module("ppgn.cli.lists" if verb in LISTS else f"ppgn.cli.{verb}")
    return cast("Callable[[Sequence[str]], int]", getattr(module, verb if verb in LISTS else "main"))


def _run(verb: str, words: Sequence[str]) -> int:
    """Call a verb's function with `words`, key=value each -> exit status. Raises `InputError`."""
    function, given, settings = configs.read(verb, words)
    return CALLS[verb](Asked(verb, words, building.locate(function), given, settings))
