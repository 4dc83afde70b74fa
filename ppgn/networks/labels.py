"""Names of a network's classes: where they come from, and which class a person means."""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ppgn.errors import InputError, unknown


@cache
def imagenet() -> tuple[str, ...]:
    """The 1000 ImageNet classes in the usual order, each with its WordNet synonyms: "junco, snowbird".

    Where torchvision tells two classes of one name apart ("crane bird"), its name is one more synonym.
    """
    from timm.data.imagenet_info import ImageNetInfo
    from torchvision.models import get_weight

    synonyms = ImageNetInfo("imagenet-1k").label_descriptions()
    distinct = get_weight("ResNet18_Weights.DEFAULT").meta["categories"]
    return tuple(
        label if _plain(name) in map(_plain, _names(label)) else f"{label}, {name}"
        for label, name in zip(synonyms, distinct, strict=True)
    )


def read(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in order of the outputs: given as they are, or the path of a file that lists them.

    A .json file holds a list, an object {index: name}, or an object with such a list under "classes" or "labels"; any
    other file has one name a line. Raises `InputError` for a file that cannot be read as such.
    """
    if not isinstance(source, str | Path):
        if not isinstance(source, Sequence) or not all(isinstance(name, str | int) for name in source):
            raise InputError(f"class names {source!r}: expected a list of names, or the path of a file with them")
        return tuple(str(name) for name in source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"class names '{source}': no such file; give a .json or a text of one a line")
    try:
        text = path.read_text(encoding="utf-8")
        names = _from_json(json.loads(text)) if path.suffix == ".json" else text.strip().splitlines()
    except OSError as error:
        raise InputError(f"class names '{source}': {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"class names '{source}': expected a JSON list of names, or a text of one a line") from error
    return tuple(name.strip() for name in names)


def _from_json(content: object) -> list[str]:
    if isinstance(content, dict):
        listed = content.get("classes", content.get("labels"))
        content = listed if listed is not None else [content[str(index)] for index in range(len(content))]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise TypeError
    return content


def find(labels: Sequence[str] | None, target: str | int, classes: int | None = None) -> int:
    """The index of the class that `target` means: an index, as a number or its text, or a name.

    Case, hyphens, underscores and the like make no difference. A name is compared with the main names of all classes,
    as spelled and then plainly; with their synonyms only after that ("crayfish" is the crayfish, though the spiny
    lobster is called so too). Several names, separated by commas, must all be names of the class. Without `labels`
    only an index of `classes` many will do.

    Raises `InputError` for an index out of range, a name of no class (naming the nearest) or of several (naming them).
    """
    count = len(labels) if labels is not None else classes
    if not isinstance(target, str) or re.fullmatch(r"\s*[+-]?\d+\s*", target):
        return _checked_index(target, count)
    if labels is None:
        known = f" from 0 to {count - 1}" if count else ""
        raise InputError(f"class '{target}': this network has no class names; give an index{known}")
    main = [_names(label)[0] for label in labels]
    asked = {_plain(name) for name in _names(target)}
    for matches in (
        [name == target.strip() for name in main],
        [{_plain(name)} == asked for name in main],
        [asked <= {_plain(name) for name in _names(label)} for label in labels],
    ):
        found = [index for index, match in enumerate(matches) if match]
        if len(found) == 1:
            return found[0]
        if found:
            meant = ", ".join(f"{index} ({labels[index]})" for index in found)
            raise InputError(f"class '{target}' may mean {meant}; give the index")
    raise unknown("class", target, [name for label in labels for name in _names(label)])


def short(labels: Sequence[str]) -> tuple[str, ...]:
    """Each class by its main name alone, or by all its names where another class has the same main name."""
    main = [_names(label)[0] for label in labels]
    times = Counter(main)
    return tuple(name if times[name] == 1 else label for name, label in zip(main, labels, strict=True))


def _checked_index(target: str | int, count: int | None) -> int:
    try:
        index = int(target) if isinstance(target, str) else operator.index(target)
    except TypeError:
        raise InputError(f"class {target!r}: expected a name or an index") from None
    if isinstance(target, bool):
        raise InputError(f"class {target!r}: expected a name or an index")
    if index < 0 or (count is not None and index >= count):
        raise InputError(f"class index {index} is out of range: expected 0 to {'' if count is None else count - 1}")
    return index


def _names(label: str) -> list[str]:
    """A label's synonyms, the main name first."""
    return [name.strip() for name in label.split(",")]


def _plain(name: str) -> str:
    """A name without case, hyphens, underscores, slashes, dots and apostrophes."""
    return " ".join(re.sub(r"[\s_\-/]+", " ", re.sub(r"[.'’]", "", name.casefold())).split())
