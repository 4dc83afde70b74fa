"""`ppgn classes`: the words that `target=` can be."""

from __future__ import annotations

from collections.abc import Sequence

from ppgn import files, paths
from ppgn.cli import config as configs
from ppgn.cli.help import table
from ppgn.errors import InputError, unknown
from ppgn.networks import labels

ACCEPTED = ("imagenet", "places", "caption")


def main(words: Sequence[str]) -> int:
    """Print the classes that `words` ask for, with their kinds where these are known -> exit status 0.

    Raises `InputError` for what is no word of any.
    """
    bare = [word for word in words if "=" not in word]
    pattern = [f"pattern={' '.join(bare)}"] if bare else []
    _, _, settings = configs.read("classes", [*pattern, *(word for word in words if "=" in word)])
    condition, asked = str(settings["condition"]), settings["pattern"]
    if condition not in ACCEPTED:
        raise InputError(f"condition={condition} has no classes of its own to list; expected {', '.join(ACCEPTED)}")
    if condition == "imagenet":
        listed: Sequence[str] = labels.imagenet()
    else:
        name, key = {"places": ("places100", "labels"), "caption": ("captioner", "words")}[condition]
        listed = files.head(paths.checkpoints() / f"{name}.safetensors")[key]
    found = labels.search(listed, str(asked)) if asked is not None else list(range(len(listed)))
    if str(asked).isdecimal() and int(str(asked)) < len(listed):
        found = [int(str(asked))]
    if not found:
        raise unknown("class", str(asked), [name.strip() for label in listed for name in label.split(",")])
    if condition == "imagenet":
        rows = [(str(k), listed[k], ", ".join(labels.parents(k)[:4])) for k in found]
        print(table([("INDEX", "CLASS", "KIND OF"), *rows]))
    elif condition == "places":
        print(table([("INDEX", "CLASS"), *((str(k), listed[k]) for k in found)]))
    else:
        print(table([("WORD",), *((listed[k],) for k in found)]))
    return 0
