"""How tests run `ppgn evaluate` and read what it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppgn.cli import main


def evaluate_with(words: Mapping[str, str], *more: str) -> int:
    """`ppgn evaluate` with `words`, unless `more` says otherwise -> exit status."""
    given = {word.split("=")[0] for word in more}
    return main(["evaluate", *(f"{key}={value}" for key, value in words.items() if key not in given), *more])


def read() -> Any:
    """out/evaluation.json."""
    return json.loads(Path("out/evaluation.json").read_text())
