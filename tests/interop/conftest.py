from __future__ import annotations

import pytest

from ppgn.generators import deepsim
from ppgn.networks import caffenet

WIDTHS = (8, 16, 12, 12, 16, 24, 20)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' networks with few channels: 16 at 4 x 4, codes of 24 (fc6), 20 (fc7), 10 (fc8) and 576 (pool5)."""
    monkeypatch.setattr(deepsim, "WIDTH", 16)
    for layer, width in {"fc6": 24, "fc7": 24, "fc8": 10, "pool5": 16 * 36}.items():
        monkeypatch.setitem(deepsim.CODE_LAYERS, layer, width)
    monkeypatch.setattr(caffenet, "WIDTHS", WIDTHS)
