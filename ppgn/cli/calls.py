"""Verbs that are one call of the function which conf/VERB.yaml names: words to its arguments, results to a line."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple

from ppgn import building, folders, paths
from ppgn.cli import config as configs
from ppgn.cli import fields

Named = Callable[[Mapping[str, Any], Mapping[str, Any]], str]


class Call(NamedTuple):
    """What results' folder is called by default, given arguments and settings; their line; whether all failed."""

    named: Named
    line: Callable[[Any], str]
    failed: Callable[[Any], bool] = lambda done: False


def slug(*words: Any) -> str:
    """A short name for a folder that says what was asked for."""
    text = "-".join(re.sub(r"\W+", "-", word.lower()).strip("-") for word in dict.fromkeys(map(str, words)))
    return text[:80].strip("-")


def _unit(instead: str) -> Named:
    """A unit's layer and number, with what stands for the layer where none is given."""
    return lambda given, _: slug(given.get("layer") or instead, given["unit"])


def _facets(done: Any) -> str:
    return f"{len(done)} facets of {sum(len(facet.members) for facet in done.found)} pictures"


def _search(done: Any) -> str:
    best = " ".join(f"{value:.4g}" for value in done.best()[1][0].tolist())
    return f"{done.generation} generations of {done.space.population} pictures, best score {best}"


CALLS = {
    "card": Call(
        lambda given, _: slug(given["layer"], given.get("units", given.get("unit"))),
        lambda done: f"{len(done.pages)} pages",
    ),
    "deconv": Call(_unit("output"), lambda done: f"{len(done.maps)} maps"),
    "dissect": Call(lambda given, _: slug(*filter(None, (given.get("model"), given["layer"]))), repr),
    "edit": Call(
        lambda given, _: Path(str(given["image"])).stem,
        lambda done: done.summary(),
        lambda done: done.failed == len(done),
    ),
    "facets": Call(lambda given, settings: slug(settings["condition"], given["target"]), _facets),
    "invert": Call(lambda given, _: slug(Path(str(given["image"])).stem, given["layer"]), repr),
    "maximize": Call(_unit("class"), repr),
    "patches": Call(_unit("output"), lambda done: f"{len(done.found)} units, {done.config['n']} patches each"),
    "search": Call(lambda *_: "", _search),
}
LISTS = ("models", "classes", "units")


def of(verb: str) -> Callable[[Sequence[str]], int]:
    """What runs a verb, given its words, and gives the exit status, with all that it takes imported."""
    if verb in CALLS:
        target = str(fields.of_file(paths.conf() / f"{verb}.yaml")["_target_"].default)
        return partial(_call, verb, building.locate(target))
    module = importlib.import_module(f"ppgn.cli.{'lists' if verb in LISTS else verb + '_' * iskeyword(verb)}")
    run: Callable[[Sequence[str]], int] = getattr(module, verb if verb in LISTS else "main")
    return run


def _call(verb: str, function: Callable[..., Any], words: Sequence[str]) -> int:
    """Call a verb's function with `words`, key=value each -> exit status: 1 where all failed, else 0."""
    _, given, settings = configs.read(verb, words)
    call = CALLS[verb]
    if given.get("out") is None:
        given["out"] = str(Path("outputs") / "-".join(filter(None, [verb, call.named(given, settings)])))
    done = function(**given, progress=True)
    print(f"{call.line(done)} -> {folders.of(given['out'])}")
    return int(call.failed(done))
