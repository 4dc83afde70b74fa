from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of research weights and data beside the repository, or the one that PPGN_SHARED names."""
    folder = Path(os.environ.get("PPGN_SHARED", Path(__file__).parents[3] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set PPGN_SHARED")
    return folder
