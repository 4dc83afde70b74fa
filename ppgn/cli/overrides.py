"""A word of the command line, KEY=VALUE, as Hydra's grammar reads it; Hydra is imported where one needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppgn.errors import InputError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SHAPE = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][\w./-]*)=(?P<value>.*)", re.DOTALL)
# What most people type, and Hydra takes for what it looks like: whole numbers, texts, and 0-7, a text too.
_KEY = r"(?P<key>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_VALUE = r"(?:(?P<number>-?(?:0|[1-9]\d*))|(?P<text>\d+-\d+|[A-Za-z_/][\w./-]*))"
_PLAIN = re.compile(f"{_KEY}={_VALUE}", re.ASCII)
_NAMED: Mapping[str, Any] = {"null": None, "true": True, "false": False}


@dataclass
class Word:
    """A word: its key, its value, the text of that in Hydra's grammar, the whole, and whether it begins with one +."""

    key: str
    value: Any
    text: str
    line: str
    added: bool = False


def read(word: str) -> Word:
    """A word; a value that Hydra's grammar cannot read, and one of several, is meant literally. Raises `InputError`."""
    match = _PLAIN.fullmatch(word)
    if match is None or str(match["text"]).lower() in ("inf", "nan"):
        found = _override(word)
        text, line = found.get_value_element_as_str(), str(found.input_line)
        return Word(found.key_or_group, found.value(), text, line, found.is_add())
    key, number, text = match.group("key", "number", "text")
    value = int(number) if number is not None else _NAMED.get(text.lower(), text)
    return Word(key, value, "null" if value is None else str(value), word)


def values(word: str) -> tuple[str, list[str]]:
    """KEY=VALUE[,VALUE ...] -> the key, and the values in Hydra's grammar. Raises `InputError` for anything else."""
    override = _override(word, sweep=True)
    if not override.is_sweep_override():
        return override.key_or_group, [override.get_value_element_as_str()]
    return override.key_or_group, [str(value) for value in override.sweep_string_iterator()]


def unreadable() -> tuple[type[Exception], ...]:
    """What Hydra's parser raises."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return HydraException, OmegaConfBaseException, RecursionError, ValueError


def _override(word: str, *, sweep: bool = False) -> Override:
    """A word as Hydra reads it; a value that it cannot read, and one of several but for a `sweep`, literally."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    match = SHAPE.fullmatch(word)
    if match is None:
        raise InputError(f"cannot read '{word}'; expected key=value, for example target=goldfish")
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(word)
        if sweep or not override.is_sweep_override():
            return override
    except unreadable():
        pass  # not Hydra's grammar: the words are meant literally
    literal = match["value"].replace("\\", "\\\\").replace("'", "\\'")
    try:
        return parser.parse_override(f"{match['key']}='{literal}'")
    except unreadable() as error:
        given = f"cannot read the key of '{word}'"
        raise InputError(f"{given}; expected letters, digits, _ and dots, for example sampler.steps=30") from error
