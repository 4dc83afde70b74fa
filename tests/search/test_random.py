"""Random search: independent of what was told, as wide as the space."""

from __future__ import annotations

import pytest
import torch

from ppgn.priors.gaussian import Gaussian
from ppgn.search.contract import Space
from ppgn.search.random import Random


def test_codes_are_normal_and_never_the_same() -> None:
    walk = Random().begin(Space((300,), 20, 7, 3.0, Gaussian(), torch.device("cpu")))
    first, second = walk.ask(), walk.ask()
    assert first.std() == pytest.approx(3.0, rel=0.05)
    assert torch.cdist(first, second).min() > 10
