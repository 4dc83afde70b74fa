"""Words become settings: the seeds' grammar, literal values, options of groups."""

from __future__ import annotations

import pytest

from ppgn.cli import config
from ppgn.errors import InputError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0-3", (0, 1, 2, 3)),
        (3, (3,)),
        ("7", (7,)),
        ([1, 4, 9], (1, 4, 9)),
        ("0-1,8,10-12", (0, 1, 8, 10, 11, 12)),
        (["9", "2-3"], (9, 2, 3)),
        (" 5 - 6 , 1 ", (5, 6, 1)),
    ],
)
def test_seeds(given: object, expected: tuple[int, ...]) -> None:
    assert config.seeds(given) == expected


@pytest.mark.parametrize("given", ["", "a", "3-", "-3", "4-2", "1..3", 1.5, None, [], [1.5], "1,,2", str(2**63)])
def test_seeds_refuses(given: object) -> None:
    with pytest.raises(InputError, match=r"cannot read seeds '.*'; expected 0-15, \[1,4,9\], 3 or 0-3,8,10-12"):
        config.seeds(given)


def test_seeds_refuses_too_many_without_making_them() -> None:
    with pytest.raises(InputError, match="more than 100,000 chains"):
        config.seeds("0-999999999999")


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("target=goldfish", "goldfish"),
        ("target=3", 3),
        ("target=great white shark, white shark", "great white shark, white shark"),
        ("target=it's (almost) a dog: yes", "it's (almost) a dog: yes"),
        ("target=[volcano,lake side]", ["volcano", "lake side"]),
        ('target="jack-o\'-lantern"', "jack-o'-lantern"),
    ],
)
def test_values_need_no_second_quoting(word: str, target: object) -> None:
    settings, options = config.compose("sample", [word, "seeds=0-3,8"])
    assert settings.target == target
    assert settings.condition.target == target
    assert settings.seeds == "0-3,8"
    assert options == {"condition": "imagenet", "sampler": "annealed"}


def test_groups_are_chosen_and_their_keys_set() -> None:
    settings, options = config.compose("sample", ["target=1", "sampler=released", "sampler.epsilon1=1e-3"])
    assert options["sampler"] == "released"
    assert settings.sampler.epsilon1 == 1e-3
    assert settings.condition.gradient == "truncated"


def test_leaves_are_dotted() -> None:
    settings, _ = config.compose("sample", ["target=[1,2]"])
    leaves = config.leaves(settings)
    assert leaves["target"] == [1, 2]
    assert leaves["condition.network.name"] == "efficientnet_lite1"
    assert "condition.network" not in leaves


def test_build_turns_a_refusal_inside_into_one_error() -> None:
    settings, _ = config.compose("sample", ["target=1", "sampler.normalize=drft"])
    with pytest.raises(InputError, match="normalize"):
        config.build(settings.sampler)
    settings, _ = config.compose("sample", ["target=1", "+sampler.volume=11"])
    with pytest.raises(InputError, match=r"cannot build sampler: .*volume"):
        config.build(settings.sampler)
