"""The reference of everything public, made from docstrings: `python -m tests.reference SITE`, a folder of HTML pages."""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import ppgn

HIDDEN = ("cli", "__main__", "numerics")  # the command line has its own help


def make(site: Path) -> None:
    """Write the pages into a folder. A warning, such as a public name that cannot be found, is an error."""
    vars(ppgn).update({name: getattr(ppgn, name) for name in ppgn.__all__})  # pdoc asks the module's own dictionary
    pdoc.render.configure(docformat="markdown", footer_text=f"ppgn {ppgn.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # fields that a dataclass inherits are not looked up where they were declared; their text stands as it is
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        rooms = [name for _, name, _ in pkgutil.iter_modules(ppgn.__path__, "ppgn.") if name[5:] not in HIDDEN]
        pdoc.pdoc("ppgn", *rooms, output_directory=site)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder to write: python -m tests.reference site")
    make(Path(sys.argv[1]))
