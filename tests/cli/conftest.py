from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

NET = """
from torch import nn
net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder: a tiny network, nets.py:net, ten photographs in `photos`, and none in `empty`."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NET)
    Path("photos").mkdir()
    Path("empty").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    np.save("photos/val_images.npy", pictures)
