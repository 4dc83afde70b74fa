"""Ask and tell: what is asked, told, found best, kept in a file and gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppgn
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.search.searching import Search
from tests.tiny import TinyGenerator

pytest.importorskip("cmaes", reason="the extra search is not installed")


def model() -> PPGN:
    return PPGN(TinyGenerator(dtype=torch.float32))


def search(**more: Any) -> Search:
    return Search(model(), **{"sampler": "cmaes", "population": 8, "device": "cpu", **more})


def bright(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[:, 0].mean((1, 2))


def walk(one: Search, generations: int, score: Any = bright) -> None:
    for _ in range(generations):
        _, pictures = one.ask()
        one.tell(score(pictures))


def test_pictures_score_higher_and_the_best_is_remembered() -> None:
    one = search()
    walk(one, 15)
    assert one.generation == 15
    assert one.codes.shape == (15, 8, 5)
    assert one.scores.shape == (15, 8, 1)
    assert one.scores[-1].mean() > one.scores[0].max()
    codes, scores = one.best(3)
    assert scores[:, 0].tolist() == one.scores.flatten().sort(descending=True).values[:3].tolist()
    assert torch.allclose(bright(one.draw(codes)).double(), scores[:, 0], atol=1e-6)


def test_codes_and_pictures_are_the_same_until_told() -> None:
    one = search()
    codes, pictures = one.ask()
    again = one.ask()
    assert torch.equal(again[0], codes)
    assert torch.equal(again[1], pictures)
    assert pictures.shape == (8, 3, 4, 4)
    one.tell(np.arange(8))
    assert not torch.equal(one.ask()[0], codes)


def test_codes_are_signed_and_as_wide_as_sigma() -> None:
    codes = search(sampler="genetic", sigma=3.0, population=200).ask()[0]
    assert codes.std() == pytest.approx(3.0, rel=0.1)
    assert (codes < 0).any()


def test_batches_that_fail_in_part_count_no_failure() -> None:
    one = search()
    walk(one, 12, lambda x: bright(x).where(torch.arange(8) % 3 > 0, torch.inf))
    assert one.scores.isnan().sum() == 12 * 3
    assert one.best(100)[1].isfinite().all()
    assert one.scores[-1].nanmean() > one.scores[0].nanmean() + 0.05


def test_several_scores_give_a_front() -> None:
    one = search(population=16)
    walk(one, 10, lambda x: torch.stack([x[:, 0].mean((1, 2)), -x[:, 0].mean((1, 2)) - x[:, 1].mean((1, 2))], dim=1))
    _, scores = one.best(1000)
    assert len(scores) > 3
    order = scores[:, 0].argsort()
    assert (scores[order, 1].diff() <= 0).all()  # who has more of one has less of the other


@pytest.mark.parametrize("sampler", ["cmaes", "genetic", "natural", "random"])
def test_it_goes_on_from_its_file_as_if_there_had_been_no_pause(sampler: str, tmp_path: Path) -> None:
    whole, first, second = (search(sampler=sampler, seed=4) for _ in range(3))
    walk(whole, 6)
    walk(first, 3)
    first.ask()
    first.save(tmp_path / "state.safetensors")
    second.load(tmp_path / "state.safetensors")
    assert second.generation == 3
    walk(second, 3)
    assert torch.equal(second.codes, whole.codes)
    assert torch.equal(second.scores, whole.scores)


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    one = search()
    walk(one, 2)
    one.save(tmp_path / "state.safetensors")
    for more in ({"seed": 1}, {"population": 9}, {"sigma": 2.0}, {"sampler": "random"}):
        with pytest.raises(InputError, match=next(iter(more))):
            search(**more).load(tmp_path / "state.safetensors")
    other = Search(PPGN(TinyGenerator(seed=3, dtype=torch.float32)), "cmaes", 8, device="cpu")
    with pytest.raises(InputError, match="model"):
        other.load(tmp_path / "state.safetensors")


def test_tell_says_what_is_wrong() -> None:
    one = search()
    with pytest.raises(InputError, match="ask"):
        one.tell([0.0] * 8)
    with pytest.raises(InputError, match="nothing"):
        one.best()
    one.ask()
    for wrong in ([0.0] * 7, 1.0, torch.zeros(8, 2, 2)):
        with pytest.raises(InputError, match="8"):
            one.tell(wrong)
    with pytest.raises(InputError, match="none of the 8"):
        one.tell([float("nan")] * 8)
    one.tell([[1.0, 2.0]] * 8)
    one.ask()
    with pytest.raises(InputError, match="of 2"):
        one.tell([1.0] * 8)


@pytest.mark.parametrize("word", [{"population": 1}, {"seed": -1}, {"sigma": 0.0}, {"sampler": "cmeas"}])
def test_arguments_that_cannot_be_are_refused(word: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(word)) if "sampler" not in word else "cmaes"):
        search(**word)


def test_a_sampler_from_outside_searches() -> None:
    class Still:
        def begin(self, space: Any) -> Any:
            return type("Walk", (), {"ask": lambda _: torch.zeros(8, 5), "tell": lambda _, fitness: None})()

    one = Search(model(), Still(), 8, device="cpu")
    walk(one, 2)
    assert not one.codes.any()
    with pytest.raises(InputError, match="begin"):
        Search(model(), object(), device="cpu")


def test_the_public_name_is_this_class() -> None:
    assert ppgn.Search is Search
