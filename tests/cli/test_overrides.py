"""A word is what Hydra reads, and most words are read without it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from itertools import product

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ppgn.cli import overrides
from ppgn.cli.overrides import Word
from ppgn.errors import InputError

PARSER = OverridesParser.create()
PIECES = ["", "0", "7", "10", "-", "_", ".", "/", "e", "N", "null", "True", "inf", "NaN"]


def by_hydra(word: str) -> Word | None:
    """What Hydra itself reads, None where it does not."""
    try:
        found = PARSER.parse_override(word)
        text = found.get_value_element_as_str()
    except overrides.unreadable():
        return None
    return Word(found.key_or_group, found.value(), text, str(found.input_line), found.is_add())


def alike(one: Word, other: Word | None) -> bool:
    return other is not None and (vars(one), type(one.value)) == (vars(other), type(other.value))


class ForHydraError(Exception):
    """A word that Hydra would have read."""


def refused(word: str) -> None:
    raise ForHydraError(word)


def test_what_is_read_without_hydra_is_what_hydra_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"k={''.join(value)}" for value in product(PIECES, repeat=3)]
    words += [
        *("seeds=0-15", "x=fALSE", "x=NULL"),
        "out=/tmp/a_b-c/d.e",
        "sampler.steps=30",
        "condition.network.size=64",
        "a.b_c.d1=x-1",
        "s=-3",
    ]
    plain: dict[str, Word] = {}
    monkeypatch.setattr(overrides, "_override", refused)
    for word in words:
        with suppress(ForHydraError):
            plain[word] = overrides.read(word)
    assert len(plain) > len(words) / 3
    assert not {"k=inf", "k=NaN", "k=0.7", "k=", "k=007", "k=.7", "k=7e7"} & plain.keys()
    assert [word for word, read in plain.items() if not alike(read, by_hydra(word))] == []


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("target=goldfish", "goldfish"),
        ("target=great white shark", "great white shark"),
        ("target=a,b", "a,b"),
        ("target=[a,3,1.5]", ["a", 3, 1.5]),
        ("target='3'", "3"),
        ("target=x:y", "x:y"),
        ("target=ünü", "ünü"),
        ("target=it's (almost)", "it's (almost)"),
        ("target=", ""),
        ("+sampler.volume=1e-3", 1e-3),
    ],
)
def test_a_word_has_a_key_and_a_value(word: str, value: object) -> None:
    read = overrides.read(word)
    assert (read.key, read.value) == (word.partition("=")[0].lstrip("+"), value)
    assert read.added is word.startswith("+")


@pytest.mark.parametrize("word", ["goldfish", "a b=3", "a..b=3"])
def test_a_word_without_a_key_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="key"):
        overrides.read(word)


def test_values_of_a_sweep() -> None:
    assert overrides.values("seeds=0-1,[3,5]") == ("seeds", ["0-1", "[3,5]"])
    assert overrides.values("target=lion,goldfish") == ("target", ["lion", "goldfish"])
    assert overrides.values("steps=3") == ("steps", ["3"])


def test_hydra_is_imported_for_what_needs_it_alone() -> None:
    plain = ["target=goldfish", "seeds=0-7", "out=/tmp/x", "sampler.steps=3", "resume=true"]
    code = "import sys; from ppgn.cli import config; config.read('sample', {}); print('hydra' in sys.modules)"
    for words, needed in ((plain, "False"), ([*plain, "target=[a,b]"], "True")):
        said = subprocess.run([sys.executable, "-c", code.format(words)], capture_output=True, text=True, check=True)
        assert said.stdout.split() == [needed]
