"""Samples of sentences, judged by ranks among the sentences of photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.captions import ranking, readable
from ppgn.evaluation.sources import Source
from ppgn.model import PPGN
from ppgn.photographs import Photographs
from tests.evaluation.conftest import Grey, grey, store
from tests.metrics.test_accuracy import Brightness as Reader


class Short(Reader):
    """Reads no more than three letters."""

    def encode(self, sentence: str) -> Tensor:
        if len(sentence) > 3:
            raise InputError("too long")
        return super().encode(sentence)


def test_sentences_are_the_first_that_all_can_read(tmp_path: Path) -> None:
    captions = [["aaaa", "aa"], ["aa", "aaaaa"], ["aaaa"], ["a", "aaa"]]
    store(tmp_path, grey(0, 50, 100, 150), captions=captions)
    data = Photographs.find(tmp_path)
    # the third photograph has none, so the fourth is taken
    assert readable(data, [Reader(), Short()], 2, 2) == ([0, 3], ["aa", "a"], [0, 1])
    with pytest.raises(InputError, match="2 captions"):
        readable(data, [Short()], 4, 2)  # the second photograph's is that of the first
    with pytest.raises(InputError, match="count"):
        readable(data, [Reader()], 2, 3)


def test_ranks_are_those_among_all_sentences(model: PPGN) -> None:
    photographs, sentences = grey(26, 77, 255), ("a", "aaa", "a" * 10)
    judge = ranking(Reader(), photographs, sentences, [0, 2])
    assert judge(photographs[[0, 2]], torch.tensor([0, 1]))["rank"].tolist() == [1, 1]
    start = Source.of(model, "annealed", None, (0, 5)).start_codes().draw([Grey(0), Grey(1)])
    found = judge(start.pictures, start.targets)
    light = 10 * start.pictures.double().mean((1, 2, 3)) / 255
    distances = (light[:, None] - torch.tensor([1, 3, 10])).abs()
    own = torch.tensor([[0], [0], [2], [2]])
    assert found["plain_rank"].tolist() == (distances <= distances.gather(1, own)).sum(1).tolist()
    likelihood = torch.exp(-(torch.tensor([[26], [77], [255]]) / 25.5 - torch.tensor([1, 3, 10])).abs())
    likelier = torch.exp(-distances) / likelihood.mean(0)
    assert found["rank"].tolist() == (likelier >= likelier.gather(1, own)).sum(1).tolist()
    assert found["top10"].tolist() == [1, 1, 1, 1]


def test_the_command_line_gives_the_same(check_same: Callable[..., None], tiny: Path) -> None:
    captions = [[f"a {noun} is in the grass"] for noun in ("dog", "man", "girl")]
    store(Path("said"), grey(0, 100, 200), captions=captions)
    typed = ["data=said", "n=3", "count=2", "judge=captioner", "steps=2"]
    check_same(evaluation.captions, typed, data="said", n=3, count=2, judge="captioner", steps=2)
    table = evaluation.captions(tiny / "model.safetensors", "said", "captioner", n=3, count=2, steps=1, device="cpu")
    assert [row["target"] for row in table.facts["white_noise"]["pictures"]] == [captions[0][0], captions[2][0]]
    rank = table.rows["samples"]["rank"]
    assert rank is not None
    assert 1 <= rank.value <= 3


def test_photographs_without_captions_are_refused(model: PPGN, photos: np.ndarray) -> None:
    with pytest.raises(InputError, match="captions"):
        evaluation.captions(model, "photos", "captioner", device="cpu")
