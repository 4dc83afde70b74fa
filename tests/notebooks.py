"""Run the notebooks with the settings they show and store them with their outputs.

    python -m tests.notebooks [NAME ...]

What a cell shows twice, as PNG and as JPEG, is kept once: plots as PNG, pictures as JPEG. Bars and warnings are left
out.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of code of a notebook's file, as JSON has them."""
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def is_settings(cell: dict[str, Any]) -> bool:
    """Whether a cell is the one whose values may be changed, tagged as papermill has it."""
    return "parameters" in cell["metadata"].get("tags", [])


def in_few_colours(png: str) -> str:
    """A plot in 256 colours, which takes a third of the space; base64 both."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def lean(outputs: Sequence[Any]) -> list[Any]:
    """Outputs of a cell without bars, warnings and second copies of pictures."""
    kept = [output for output in outputs if output.get("name") != "stderr"]
    for data in (output.get("data", {}) for output in kept):
        if "image/jpeg" in data:
            data.pop("image/png", None)
        elif "image/png" in data:
            data["image/png"] = in_few_colours(data["image/png"])
    return kept


def store(notebook: Path) -> float:
    """Run a notebook in a temporary folder and write it with its outputs -> seconds."""
    import nbformat
    from nbclient import NotebookClient

    content, started = nbformat.read(notebook, as_version=4), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
        NotebookClient(content, timeout=None, resources={"metadata": {"path": folder}}).execute()
    for cell in content.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = lean(cell.outputs)
    content.metadata["language_info"] = {"name": "python"}
    nbformat.write(content, notebook)
    return time.perf_counter() - started


def main(names: Sequence[str]) -> None:
    """Store those of these names, or all."""
    for notebook in NOTEBOOKS:
        if not names or notebook.stem in names:
            print(f"{notebook.stem}: {store(notebook):.0f} s, {notebook.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
