from __future__ import annotations

import pytest
import torch
from torch import nn

from ppgn.networks import own
from ppgn.networks.network import Network


@pytest.fixture(scope="module")
def net() -> Network:
    """Random weights, three classes; layer 1 is six rectified units on a grid."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    return own.load(body, 32)
