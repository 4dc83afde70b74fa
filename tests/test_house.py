"""The house keeps its order: a test file for every module, sentences that refer to what a reader can find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    path.relative_to(ROOT)
    for room in ("ppgn", "train")
    for path in (ROOT / room).rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
TESTS = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}


def place_of_tests(module: Path) -> str:
    """ppgn/priors/mixture.py -> priors/test_mixture.py, train/data.py -> train/test_data.py."""
    inside = module.relative_to("ppgn") if module.parts[0] == "ppgn" else module
    return inside.with_name(f"test_{module.stem.lstrip('_')}.py").as_posix()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_a_place_of_tests_its_name(module: Path) -> None:
    assert place_of_tests(module) in TESTS


def test_docstrings_refer_to_papers_not_to_files_that_are_not_here() -> None:
    strange = re.compile(r"\bspecification \d|\bsection \d+\.\d+ of the spec", re.IGNORECASE)
    assert [str(module) for module in MODULES if strange.search((ROOT / module).read_text())] == []


def test_the_command_line_is_thin() -> None:
    def lines(*rooms: str) -> int:
        return sum(len(path.read_text().splitlines()) for room in rooms for path in (ROOT / room).rglob("*.py"))

    assert lines("ppgn/cli") <= 0.16 * lines("ppgn", "train")
