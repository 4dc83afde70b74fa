"""Rows of a batch that several processes share, and what they say together. Two processes: see test_generator."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from train import shares
from train.shares import Share


def test_shares_hold_every_row_once_and_the_first_rows_first() -> None:
    whole = torch.arange(12).view(6, 2)
    parts = [Share(rank, 3).of(lambda shape: whole[: shape[0]], 2, 2) for rank in range(3)]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)
    assert torch.equal(torch.cat([part[:1] for part in parts]), whole[:3])


def test_all_processes_draw_alike_and_keep_rows_of_their_own() -> None:
    drawn, states = [], []
    for rank in (0, 1):
        torch.manual_seed(0)
        drawn.append(Share(rank, 2).like(torch.randn, torch.zeros(5, 3, dtype=torch.float64)))
        states.append(torch.get_rng_state())
    torch.manual_seed(0)
    whole = torch.randn(10, 3, dtype=torch.float64)
    assert torch.equal(drawn[0], whole[::2])
    assert torch.equal(drawn[1], whole[1::2])
    assert all(torch.equal(*pair) for pair in pairwise(states))
    assert Share(1, 2).of(np.zeros, 4).shape == (4,)


def test_a_process_alone_has_everything() -> None:
    x = torch.rand(3, 2)
    assert Share.own() == Share(0, 1)
    assert torch.equal(shares.mean(x), x)
    assert torch.equal(shares.gathered(x), x)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"])
def test_the_first_process_is_known_before_it_has_met_the_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert shares.first()
    monkeypatch.setenv(name, "1")
    assert not shares.first()
