"""The reference of everything public, made from docstrings: `python -m tests.reference SITE` writes HTML pages."""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path
from unittest import mock

import pdoc

import ppgn

HIDDEN = ("cli", "__main__", "numerics")  # the command line has its own help


def make(site: Path) -> None:
    """Write the pages into a folder. A warning, such as a public name that cannot be found, is an error."""
    rooms = [name for _, name, _ in pkgutil.iter_modules(ppgn.__path__) if name not in HIDDEN]
    # pdoc asks the module's own dictionary, and links what its __all__ names
    found = {name: getattr(ppgn, name) for name in ppgn.__all__} | {"__all__": [*ppgn.__all__, *rooms]}
    with mock.patch.dict(vars(ppgn), found), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # fields that a dataclass inherits are not looked up where they were declared; their text stands as it is
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        pdoc.render.configure(footer_text=f"ppgn {ppgn.__version__}")
        pdoc.pdoc("ppgn", output_directory=site)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder to write: python -m tests.reference site")
    make(Path(sys.argv[1]))
