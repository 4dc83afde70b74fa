"""Names of a network's classes: where they come from, and which class a person means."""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from ppgn.errors import InputError, unknown

ANY = "any:"  # in front of a target: several classes at once


@cache
def imagenet() -> tuple[str, ...]:
    """The 1000 ImageNet classes in the usual order, each with its WordNet synonyms: "junco, snowbird".

    Where torchvision tells two classes of one name apart ("crane bird"), its name is one more synonym.
    """
    return tuple(_lines("imagenet1k.txt"))


def _lines(name: str) -> list[str]:
    """The lines of a file beside this one, without its comments."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@cache
def groups() -> Mapping[str, tuple[int, ...]]:
    """The kinds of things that WordNet puts ImageNet's classes under, each with its synonyms, and their classes.

    "dog, domestic dog, Canis familiaris" -> (151, ..., 268); the widest first, without those that hold most classes.
    Source: WordNet 3.0 (Fellbaum 1998, Princeton University; the licence stands in the file of it).
    """
    found = (line.rpartition(": ")[::2] for line in _lines("wordnet.txt"))
    return {names: tuple(k for part in spans.split(",") for k in _span(part)) for names, spans in found}


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def parents(index: int) -> list[str]:
    """The main names of the kinds of things that class `index` of ImageNet belongs to, the narrowest first."""
    return [_names(names)[0] for names, classes in reversed([*groups().items()]) if index in classes]


def members(labels: Sequence[str], kind: str) -> tuple[int, ...]:
    """The classes of a `kind` of thing, () where there are none: "dog" -> the 118 dogs of ImageNet.

    For other labels than ImageNet's, and for what is no kind, those that have the word `kind` in their names.
    """
    asked = _singular(kind)
    if not asked:
        return ()
    if tuple(labels) == imagenet():
        for count in (1, None):  # main names first
            for names, classes in reversed([*groups().items()]):
                if asked in map(_singular, _names(names)[:count]):
                    return classes
    word = re.compile(rf"(?<!\w){re.escape(asked)}s?(?!\w)")
    return tuple(index for index, label in enumerate(labels) if any(word.search(_plain(n)) for n in _names(label)))


def _singular(name: str) -> str:
    """A name plainly and without the ending of a plural, so that "Dogs" is "dog"."""
    return re.sub(r"(?<=[^s])s$", "", _plain(name))


def find_any(labels: Sequence[str] | None, target: str | int, classes: int | None = None) -> tuple[int, ...]:
    """The classes that `target` means: that of `find`, or after "any:" those of every name in it, separated by commas.

    A name after "any:" is one of `find`'s, or a kind of thing (see `members`): "any:dog", "any:junco,robin,12".
    Raises `InputError` as `find` does, and where every class would do.
    """
    if not isinstance(target, str) or not target.strip().startswith(ANY):
        return (find(labels, target, classes),)
    chosen: set[int] = set()
    for name in _names(target.strip().removeprefix(ANY)):
        chosen |= set(members(labels or (), name)) or {find(labels, name, classes)}
    if len(chosen) == (classes or len(labels or ())):
        raise InputError(f"target '{target}' means all {len(chosen)} classes; ask for some of them")
    return tuple(sorted(chosen))


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
    lobster is called so too), and without spaces ("gold fish"). Several names, separated by commas, must all be names
    of the class. Without `labels` only an index of `classes` many will do.

    Raises `InputError` for an index out of range, a name of no class (naming those of that kind, or
    else the nearest in spelling) or of several (naming them).
    """
    count = len(labels) if labels is not None else classes
    if not isinstance(target, str) or re.fullmatch(r"\s*[+-]?\d+\s*", target):
        return _checked_index(target, count)
    if labels is None:
        known = f" from 0 to {count - 1}" if count else ""
        raise InputError(f"class '{target}': this network has no class names; give an index{known}")
    main = [_names(label)[0] for label in labels]
    asked = {_plain(name) for name in _names(target)}
    ways: tuple[tuple[Sequence[str], Callable[[str], bool]], ...] = (
        (main, lambda name: name == target.strip()),
        (main, lambda name: {_plain(name)} == asked),
        (labels, lambda label: asked <= {_plain(name) for name in _names(label)}),
        (labels, lambda label: _joined(target) in {_joined(name) for name in _names(label)}),
    )
    for texts, is_meant in ways:
        found = [index for index, text in enumerate(texts) if is_meant(text)]
        if len(found) == 1:
            return found[0]
        if found:
            meant = ", ".join(f"{index} ({labels[index]})" for index in found)
            raise InputError(f"class '{target}' may mean {meant}; give the index")
    kind = members(labels, target)
    if kind:
        names = short(labels)
        shown = ", ".join(names[index] for index in kind[:: -(-len(kind) // 5)])
        more = ", …" if len(kind) > 5 else ""
        held = f"unknown class '{target}', but {len(kind)} {'goes' if len(kind) == 1 else 'go'} by it: {shown}{more}"
        raise InputError(f'{held}; target="{ANY}{target}" asks for any of them, `ppgn classes {target}` lists them')
    if tuple(labels) != imagenet():
        raise unknown("class", target, [name for label in labels for name in _names(label)])
    hint = "`ppgn classes` lists them"
    told = _told(_singular(target))
    if told:
        raise InputError(f"unknown class '{target}'; said of {', '.join(told[:5])}; {hint}")
    raise unknown("class", target, [name for label in labels for name in _names(label)], hint)


def _told(word: str) -> list[str]:
    """The main names of ImageNet's classes in whose definitions a word stands."""
    from timm.data.imagenet_info import ImageNetInfo

    glosses = ImageNetInfo("imagenet-1k").label_descriptions(detailed=True)
    found = (re.search(rf"(?<!\w){re.escape(word)}s?(?!\w)", gloss.partition(": ")[2]) for gloss in glosses)
    return [_names(label)[0] for label, match in zip(imagenet(), found, strict=True) if match and word]


def search(labels: Sequence[str], pattern: str) -> list[int]:
    """The classes that are called `pattern`, in part, or are such a kind of thing (see `members`), in order."""
    wanted = _plain(pattern)
    return sorted({*members(labels, pattern), *(k for k, label in enumerate(labels) if wanted in _plain(label))})


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


def _joined(name: str) -> str:
    """A name plainly and without spaces: "gold fish" is "goldfish"."""
    return _plain(name).replace(" ", "")


def _plain(name: str) -> str:
    """A name without case, hyphens, underscores, slashes, dots and apostrophes."""
    return " ".join(re.sub(r"[\s_\-/]+", " ", re.sub(r"[.'’]", "", name.casefold())).split())
