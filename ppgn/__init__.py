"""Plug & Play Generative Networks: draw what a network wants to see.

    import ppgn

    samples = ppgn.sample("goldfish", seeds=range(8), progress=True)
    samples.save("outputs/goldfish")

Nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from importlib.metadata import version as _version

    from ppgn import evaluation as evaluate
    from ppgn.conditions.words import condition
    from ppgn.editing import edit
    from ppgn.errors import InputError
    from ppgn.inpainting import inpaint
    from ppgn.interop.importing import import_model
    from ppgn.model import PPGN, load
    from ppgn.samplers.sampler import Sampler
    from ppgn.sampling import sample
    from ppgn.search.evolve import evolve
    from ppgn.search.searching import Search
    from ppgn.shards import open_samples
    from ppgn.visualize.attribution import deconv
    from ppgn.visualize.card import card
    from ppgn.visualize.dissection import dissect
    from ppgn.visualize.facets import facets
    from ppgn.visualize.inversion import invert
    from ppgn.visualize.maximization import maximize
    from ppgn.visualize.patches import patches

    __version__ = _version("ppgn")

__all__ = [
    "PPGN",
    "InputError",
    "Sampler",
    "Search",
    "__version__",
    "card",
    "condition",
    "deconv",
    "dissect",
    "edit",
    "evaluate",
    "evolve",
    "facets",
    "import_model",
    "inpaint",
    "invert",
    "load",
    "maximize",
    "open_samples",
    "patches",
    "sample",
]

_HOMES = {
    "PPGN": "ppgn.model",
    "InputError": "ppgn.errors",
    "Sampler": "ppgn.samplers.sampler",
    "card": "ppgn.visualize.card",
    "condition": "ppgn.conditions.words",
    "Search": "ppgn.search.searching",
    "deconv": "ppgn.visualize.attribution",
    "dissect": "ppgn.visualize.dissection",
    "edit": "ppgn.editing",
    "evolve": "ppgn.search.evolve",
    "facets": "ppgn.visualize.facets",
    "import_model": "ppgn.interop.importing",
    "inpaint": "ppgn.inpainting",
    "invert": "ppgn.visualize.inversion",
    "load": "ppgn.model",
    "maximize": "ppgn.visualize.maximization",
    "open_samples": "ppgn.shards",
    "patches": "ppgn.visualize.patches",
    "sample": "ppgn.sampling",
}


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _importlib.import_module("importlib.metadata").version("ppgn")
    if name == "evaluate":
        return _importlib.import_module("ppgn.evaluation")
    if name in _HOMES:
        return getattr(_importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ppgn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
