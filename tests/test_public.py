"""The public face: what `import ppgn` offers, found without importing anything slow before it is asked for."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import ppgn

NAMES = {"PPGN", "InputError", "Sampler", "condition", "evaluate", "facets", "inpaint", "load", "sample", "__version__"}
NAMES |= {"open_samples", "import_model", "edit"}
NAMES |= {"Search", "evolve"}
NAMES |= {"open_samples", "import_model", "edit", "deconv", "patches", "dissect", "card"}
LAZY = """
import sys
import ppgn
dir(ppgn), ppgn.__version__
assert "torch" not in sys.modules
ppgn.load
assert "torch" in sys.modules
ppgn.sample, ppgn.inpaint, ppgn.facets, ppgn.evaluate, ppgn.condition, ppgn.deconv, ppgn.patches, ppgn.dissect
ppgn.card
slow = {"hydra", "omegaconf", "lightning", "sklearn", "gradio", "captum", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""

NAMES |= {"maximize", "invert"}


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert set(dir(ppgn)) == NAMES == set(ppgn.__all__)


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_name_is_there_and_documented(name: str) -> None:
    thing = getattr(ppgn, name)
    assert inspect.getdoc(thing)
    assert (thing.__name__ if name == "evaluate" else thing.__module__).startswith("ppgn.")


def test_the_version_is_that_of_the_package() -> None:
    assert ppgn.__version__ == importlib.metadata.version("ppgn")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="smaple"):
        _ = ppgn.smaple


def test_nothing_slow_is_imported_early() -> None:
    run = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
