"""What is asked: the command line of `ppgn evaluate`, checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from ppgn import inpainting
from ppgn.cli import config as configs
from ppgn.cli import inpaint
from ppgn.cli.evaluation.data import Data
from ppgn.cli.sample import read_device, read_targets
from ppgn.errors import InputError, unknown
from ppgn.model import PPGN, load
from ppgn.samplers.sampler import Sampler

WHAT = ("reconstruction", "samples", "variants", "inpainting", "places", "captions", "units")
# Scenes that MIT Places and MiniPlaces share: coasts and peaks, fields, streets, buildings, rooms.
SCENES = (
    *("coast", "mountain", "volcano", "desert/sand", "iceberg", "rainforest", "corn_field", "golf_course", "highway"),
    *("harbor", "bridge", "skyscraper", "lighthouse", "church/outdoor", "bedroom", "kitchen", "classroom"),
    *("supermarket", "bookstore", "bathroom"),
)
CHANGES = {  # of a what, unless other words are given
    "places": ("condition=places", "n=3000", "seeds=0-1", f"classes=[{','.join(SCENES)}]"),
    "captions": ("condition=caption", "n=100", "seeds=0"),
    "units": ("condition=unit", "condition.layer=null", "count=50", "seeds=0"),
}
VARIANTS = ("ppgn_x", "dgn_am", "dgn_am_released", "ppgn_h", "joint", "noiseless_joint", "annealed")  # likewise
# What decides no figure.
FREE_KEYS = ("batch_size", "device", "out", "target")


@dataclass(frozen=True)
class Request:
    """The command line of `ppgn evaluate`, checked as far as it can be without a network."""

    config: DictConfig
    options: dict[str, str]  # of the groups condition and sampler
    what: str
    data: Data
    n: int
    classes: tuple[str | int, ...]
    seeds: tuple[int, ...]
    systems: tuple[str, ...]
    variants: dict[str, Request]  # of what=variants: an experiment each, by name
    steps: int | None
    batch_size: int
    device: torch.device
    out: Path

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        what = str(configs.take(words, "what")[0])
        if what == "variants":
            return _read_variants(words)
        changes = CHANGES.get(what, ())
        if what == "inpainting":
            sampler = str(configs.take(words, "sampler")[0] or "annealed")
            changes = (
                "n=100",
                *(word for word in inpaint.CHANGES.get(sampler, ()) if word.startswith(("sampler.", "context."))),
            )
        return _read([*changes, *words])

    def settings(self) -> dict[str, Any]:
        """All that decides the figures, by dotted key; what each of several variants sets is said of that one."""
        theirs = ("prior", "sampler.") if self.variants else ()
        every = configs.leaves(self.config)
        return {key: value for key, value in every.items() if key not in FREE_KEYS and not key.startswith(theirs)}

    def choose_prior(self, model: PPGN, sampler: Sampler) -> str:
        """The prior asked for, or the one that suits the sampler best."""
        name = self.config.prior
        return model.name_of(model.choose_prior(None if name is None else str(name), sampler))

    def load_model(self) -> PPGN:
        """The model asked for, on the device asked for."""
        return load(str(self.config.model), self.device)

    def progress(self, total: int, unit: str) -> tqdm[NoReturn]:
        """A bar on stderr."""
        return tqdm(total=total, desc=self.what, unit=unit, mininterval=0.1 if sys.stderr.isatty() else 2.0)


def _read(words: Sequence[str]) -> Request:
    config, options = configs.compose("evaluate", words)
    if str(config.what) not in WHAT:
        raise unknown("what", str(config.what), WHAT)
    if config.target is not None:
        raise InputError(f"target={config.target} cannot be used here; give the classes: classes=[{config.target}]")
    classes, systems = read_targets(config, "classes"), tuple(str(name) for name in config.systems)
    for key, names in (("classes", classes), ("systems", systems)):
        _check_names(key, names)
    seeds = configs.seeds(config.seeds)
    if len(classes) * len(seeds) < 2:
        raise InputError("classes and seeds make a single sample; give two classes or seeds, or more")
    inpainting.check_imputations(config.context.imputations)
    return Request(
        config=config,
        options=options,
        what=str(config.what),
        data=Data.find(config.data),
        n=configs.whole(config, "n", least=2),
        classes=classes,
        seeds=seeds,
        systems=systems,
        variants={},
        steps=None if config.steps is None else configs.whole(config, "steps", least=1),
        batch_size=configs.whole(config, "batch_size", least=1),
        device=read_device(str(config.device)),
        out=Path(str(config.out or Path("outputs") / f"evaluate-{config.what}")).expanduser(),
    )


def _read_variants(words: Sequence[str]) -> Request:
    """A request with one more for every experiment: on its own model if it has one, unless models.NAME is given."""
    asked, words = configs.take(words, "experiment")
    names = VARIANTS if asked is None else [str(name) for name in (asked if isinstance(asked, list) else [asked])]
    _check_names("experiment", names)
    for key in ("sampler", "prior"):
        if configs.take(words, key)[0] is not None:
            raise InputError(f"{key}= cannot be used with what=variants: each experiment has its own; leave it out")
    request = _read(words)
    return replace(request, variants={name: _read(_of_variant(name, words, request.config.models)) for name in names})


def _of_variant(name: str, words: Sequence[str], models: Mapping[str, str | None]) -> list[str]:
    """The words for one experiment. An unknown one is left to be refused with the others."""
    chosen = [*words, f"experiment={name}"]
    if models.get(name) is not None:
        return [*chosen, f"model={models[name]}"]
    return configs.take(chosen, "model")[1] if configs.sets_model(name) else chosen


def _check_names(key: str, names: Sequence[str | int]) -> None:
    if not names or len(set(names)) < len(names):
        raise InputError(f"{key}=[{','.join(map(str, names))}]: expected one name or more, each once")
