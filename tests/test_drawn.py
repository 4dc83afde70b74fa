"""What is said of samples, and what a person sees of them."""

from __future__ import annotations

from pathlib import Path

import torch

from ppgn.drawn import caption, describe
from tests.test_runs import Bright, run, samples
from tests.tiny import TinyCondition


def test_conditions_that_say_nothing_are_silent() -> None:
    pictures = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    assert describe(TinyCondition(0), pictures) == [{}, {}, {}]


def test_a_caption_is_probability_and_name() -> None:
    assert caption(Bright(0), {"log_prob": -1.0, "prob": 0.25}) == "0.25 bright"
    assert caption(Bright(0), {"log_prob": None}) == "bright"


def test_the_grid_shows_64_at_most(tmp_path: Path) -> None:
    one, other = run(None), run(None)
    one.add(one.part(samples(tuple(range(100))), 1), 1.0)
    other.add(other.part(samples(tuple(range(64))), 1), 1.0)
    assert one.grid().size == other.grid().size


def test_its_repr_is_short_and_says_what_it_holds() -> None:
    one = run(None)
    assert "0 samples" in repr(one)
    one.add(one.part(samples((1, 2)), 1), 1.0)
    assert len(repr(one)) < 100
    assert "2 samples of bright" in repr(one)
    assert one.seeds == (1, 2)
    assert len(one) == 2
