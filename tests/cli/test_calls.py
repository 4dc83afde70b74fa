"""Verbs that are one call: what their folders are called (what they do is tested verb by verb)."""

from __future__ import annotations

from typing import Any

import pytest

from ppgn.cli import calls, help

NAMED = [
    ("card", {"layer": "bn2", "unit": 17}, "bn2-17"),
    ("card", {"layer": "bn2", "units": "0-3"}, "bn2-0-3"),
    ("deconv", {"layer": "blocks.4", "unit": [3, 17]}, "blocks-4-3-17"),
    ("deconv", {"unit": "gold fish"}, "output-gold-fish"),
    ("dissect", {"layer": "blocks.2", "model": "natural64"}, "natural64-blocks-2"),
    ("edit", {"image": "photos/My Photo.jpg"}, "My Photo"),
    ("facets", {"target": "teapot"}, "imagenet-teapot"),
    ("invert", {"image": "photos/My Photo.jpg", "layer": ["bn1", "bn2"]}, "my-photo-bn1-bn2"),
    ("maximize", {"unit": "goldfish"}, "class-goldfish"),
    ("patches", {"unit": 3}, "output-3"),
    ("search", {}, ""),
]


@pytest.mark.parametrize(("verb", "given", "named"), NAMED)
def test_a_folder_says_what_was_asked_for(verb: str, given: dict[str, Any], named: str) -> None:
    call = calls.CALLS[verb]
    assert isinstance(call, calls.Plain)
    assert call.named(given, {"condition": "imagenet"}) == named


def test_every_verb_has_something_that_runs_it() -> None:
    assert {verb for verb, *_ in NAMED} == {verb for verb, call in calls.CALLS.items() if isinstance(call, calls.Plain)}
    assert all(callable(calls.of(verb)) for verb in help.VERBS)
