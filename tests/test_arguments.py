"""Arguments that many functions take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppgn import arguments
from ppgn.errors import InputError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, (3,)),
        ("0-3", (0, 1, 2, 3)),
        ("0-1,8,10-11", (0, 1, 8, 10, 11)),
        ([4, 1], (4, 1)),
        (["2-3", 7], (2, 3, 7)),
        (range(2, 5), (2, 3, 4)),
        ((9, 8), (9, 8)),
    ],
)
def test_seeds_as_people_write_them(given: Any, expected: tuple[int, ...]) -> None:
    assert arguments.seeds(given) == expected


@pytest.mark.parametrize("given", ["", [], range(0), -1, [-1], 1.5, "3-1", "a", None, [2**63], "0-3,2", [1, 1], True])
def test_seeds_that_cannot_be(given: Any) -> None:
    with pytest.raises(InputError, match="seed"):
        arguments.seeds(given)


@pytest.mark.parametrize("given", [f"0-{arguments.MOST_SEEDS}", range(10**12)])
def test_too_many_seeds_are_refused_before_they_are_counted(given: Any) -> None:
    with pytest.raises(InputError, match="several runs"):
        arguments.seeds(given)


def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert arguments.device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="no GPU is visible"):
        arguments.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert arguments.device("auto") == torch.device("cuda")
    assert arguments.device(torch.device("cuda:1")) == torch.device("cuda:1")
    with pytest.raises(InputError, match="cuda:1"):
        arguments.device("cuda:2")


def test_names() -> None:
    assert arguments.names("layer", ["a", 3, "a"]) == ["a", "3"]
    assert arguments.names("method", "all", {"a": 1, "b": 2}) == ["a", "b"]
    for value in ([], None, 1.5, True, {"a": 1}, [["a"]]):
        with pytest.raises(InputError, match="names"):
            arguments.names("method", value, ["a"])
    with pytest.raises(InputError, match="unknown method 'c'"):
        arguments.names("method", ["a", "c"], ["a", "b"])


def test_whole_numbers_and_shares() -> None:
    assert (arguments.whole("n", 0, 0), arguments.share("p", 1)) == (0, 1.0)
    for value in (0, 1.0, True, None, "1"):
        with pytest.raises(InputError, match=r"n=.*from 1"):
            arguments.whole("n", value)
    for value in (0, 1.1, True, None, float("nan")):
        with pytest.raises(InputError, match="p="):
            arguments.share("p", value)


def test_targets_are_one_or_several() -> None:
    assert arguments.targets("goldfish") == ("goldfish",)
    assert arguments.targets([1, "b"]) == (1, "b")
    assert arguments.targets(None) == (None,)
    for value in ([], [None, 1], "", True, 1.5, [["a"]]):
        with pytest.raises(InputError, match="target"):
            arguments.targets(value)


def test_one_target_is_one() -> None:
    assert [arguments.target(given, "one") for given in ("goldfish", 3, None, ["a"])] == ["goldfish", 3, None, "a"]
    with pytest.raises(InputError, match=r"target=\['a', 'b'\] cannot be used; a hole is filled with one"):
        arguments.target(["a", "b"], "a hole is filled with one")
