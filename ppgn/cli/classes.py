"""`ppgn classes`: the words that `target=` can be."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn.cli import config as configs
from ppgn.cli.help import table
from ppgn.conditions import words as conditions
from ppgn.networks import labels


def main(words: Sequence[str]) -> int:
    """Print the classes that `words` ask for, with their kinds where these are known -> exit status 0.

    Raises `InputError` for what is no word of any.
    """
    bare = [word for word in words if "=" not in word]
    pattern = [f"pattern={' '.join(bare)}"] if bare else []
    _, _, settings = configs.read("classes", [*pattern, *(word for word in words if "=" in word)])
    condition, asked = str(settings["condition"]), settings["pattern"]
    listed = conditions.vocabulary(condition)
    found = conditions.find(condition, None if asked is None else str(asked))
    if condition == "imagenet":
        rows = [(str(k), listed[k], ", ".join(labels.parents(k)[:4])) for k in found]
        print(table([("INDEX", "CLASS", "KIND OF"), *rows]))
    elif condition == "caption":
        print(table([("WORD",), *((listed[k],) for k in found)]))
    else:
        print(table([("INDEX", "CLASS"), *((str(k), listed[k]) for k in found)]))
    return 0
