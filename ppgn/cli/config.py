"""From the words of a command line to the arguments of a function, or to the configuration of a training program."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from ppgn import building, paths
from ppgn.cli import fields, overrides
from ppgn.cli.fields import PARTS, Field
from ppgn.cli.overrides import Word
from ppgn.conditions import words as expressions
from ppgn.errors import InputError, check_known, unknown

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TEXT = ("out", "init", "image", "mask", "model", "judge", "device")  # words: only in Python may they be objects
# Of keys of the training programs that are null unless given.
_NULL = {"minutes": "float", "images": "int", "name": "str", "codes": "str", "weights": "str", "quality": "int"}
# What may be given, by the type of the default or else by the annotation.
_ACCEPTED: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int, dict), "a whole number"),
    "float": ((float, int, dict), "a number"),
    "str": ((str, int, float, bool), "a text"),
    "Path": ((str, int, float, bool), "a path"),
    **dict.fromkeys(("list", "tuple", "Sequence"), ((list,), "a list, [a,b]")),
    **dict.fromkeys(("dict", "Mapping"), ((dict,), "one of the keys below it, KEY.NAME=VALUE")),
}
# What people type for keys that have another name.
_MEANT = {
    **dict.fromkeys(("class", "label", "name", "category"), "what to draw is target=NAME"),
    **dict.fromkeys(("prompt", "text", "caption"), 'a sentence is condition=caption target="two dogs run"'),
    **dict.fromkeys(("unit", "neuron", "channel"), "a unit is condition=unit layer=NAME target=NUMBER"),
    **dict.fromkeys(("n", "num", "count", "number", "num_samples"), "as many pictures as seeds: seeds=0-7"),
    **dict.fromkeys(("output", "folder", "path", "file", "save"), "the folder to write is out=FOLDER"),
    **dict.fromkeys(("gpu", "cuda"), "a GPU is device=cuda"),
    **dict.fromkeys(("cfg", "guidance", "guidance_scale"), "more of the target is sampler.epsilon2=3"),
    **dict.fromkeys(("width", "height", "resolution"), "pictures are as large as the model draws them: ppgn models"),
    **dict.fromkeys(("negative", "negative_prompt"), 'what should not be there: condition="imagenet:a & ~imagenet:b"'),
    **dict.fromkeys(("help", "h"), "every key: ppgn COMMAND --help"),
    "format": "PNG files are export=folder",
    "hole": "a hole is mask=center or mask=FILE, white is the hole",
}
# The key that a word alone is meant for, where it is not the target.
_ALONE = {"units": "network", "import": "generator", "evaluate": "what", "train_pack": "data"}
_ALONE |= dict.fromkeys(("train_generator", "train_prior", "train_captioner", "train_decoder"), "data.root")


def read(verb: str, words: Sequence[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """`words`, key=value each -> the function that conf/VERB.yaml names, its arguments, and further settings.

    Arguments are what words or an experiment say, no defaults; a value that Hydra's grammar cannot read is meant
    literally. A part is its name, or, where words change its keys as in sampler.epsilon2=2, a mapping: of a sampler
    {"_target_": CLASS, KEY: value}, without the class where none is named, of a condition {"expression": NAME, KEY:
    value}. The settings are the keys that conf/VERB.yaml has beside the function's and, under "condition" and
    "sampler", the names of the parts.

    Raises `InputError` for a word without a key, an unknown key, part or experiment, and a value of the wrong type.
    """
    line = _words(verb, words)
    typed = {word.key: word.value for word in line}
    function, known, own = fields.command(verb, typed)
    renamed = {key: field.name for key, field in known.items()}
    given = _repeated(typed.get("config"), typed, known) if "config" in own else {}
    given |= _experiment(typed, known) if "experiment" in own else {}
    given |= typed
    parts = {part: given.get(part, known[part].default) for part in PARTS if part in known}
    names = {part: str(value) for part, value in parts.items() if value is not None}
    for part in parts:
        known |= _members(part, names.get(part) or fields.FULLEST.get(part))
    given = {_long(key, known | own): value for key, value in given.items()}
    for word in line:
        key = word.key = _long(word.key, known | own)
        if key in known or not word.added or key.partition(".")[0] not in PARTS:
            _check(word, known | {name: replace(field, type="Any") for name, field in own.items()})
        if key in given and key in known and _is_text(known[key], given[key]):
            given[key] = word.text
    settings = {key: field.default for key, field in own.items()} | names
    arguments: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        outer, dot, rest = key.partition(".")
        if dot:
            inner.setdefault(outer, {})[rest] = value
        elif key in own:
            settings[key] = value
        else:
            arguments[renamed.get(key, key)] = value
    for outer, changes in inner.items():
        node = arguments.get(outer) or {}
        if outer in names:
            node = {"expression": names[outer]} if outer == "condition" else building.node(outer, names[outer])
        if not isinstance(node, Mapping):
            refused = f"cannot use {outer}.{next(iter(changes))}=..."
            raise InputError(f"{refused}: {outer} is {node}, which has no keys below it")
        arguments[outer] = building.merged(node, changes)
    for key, field in known.items():
        if field.default == fields.MISSING and "." not in key and field.name not in arguments:
            raise InputError(_missing(key))
    return function, arguments, settings


def _long(key: str, known: Mapping[str, Field]) -> str:
    """A key of the condition, or of its network, where it is typed alone: "layer" is "condition.layer"."""
    every = [f"condition.{key}", f"condition.network.{'name' if key == 'network' else key}"]
    return next((long for long in reversed(every) if key not in known and long in known), key)


def _experiment(typed: Mapping[str, Any], known: Mapping[str, Field]) -> dict[str, Any]:
    """What the experiment that was typed sets, but for the keys of parts that were named beside it.

    A value "${KEY}" is what was typed for KEY. Raises `InputError` where that is nothing.
    """
    name = typed.get("experiment")
    if name is None:
        return {}
    _check_option("experiment", name, fields.experiments(known))
    named = tuple(f"{part}." for part in PARTS if part in typed)
    given = {key: value for key, value in fields.experiment(name).items() if not key.startswith(named)}
    for key, value in given.items():
        same = re.fullmatch(r"\$\{(\w+)\}", str(value))
        if same and same[1] not in typed:
            raise InputError(f"experiment={name} needs {same[1]}: add {same[1]}=FILE")
        given[key] = typed[same[1]] if same else value
    return given


def _repeated(file: Any, typed: Mapping[str, Any], known: Mapping[str, Field]) -> dict[str, Any]:
    """What a config.yaml of an earlier run says, by dotted key, but for where that was written, and parts named beside.

    Raises `InputError` for a file that is none.
    """
    if file is None:
        return {}
    from ppgn.settings import as_typed

    try:
        path = Path(str(file)).expanduser()
        config = yaml.safe_load((path / "config.yaml" if path.is_dir() else path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"cannot read config={file}: {error}; give the config.yaml that a run has written") from error
    strange = [key for key in config if key not in known] if isinstance(config, Mapping) else [type(config).__name__]
    if strange:
        raise InputError(f"config={file} is no configuration of this command: it has {strange[0]}")
    named = tuple(f"{part}." for part in PARTS if {part, "experiment"} & {*typed})
    fresh = ["out", "resume", "export", "animate"]
    fresh += ["prior"] if {"sampler", "model", "experiment"} & {*typed} else []  # it was chosen to suit them
    given = as_typed(config)
    return {key: value for key, value in given.items() if not key.startswith(named) and key not in fresh}


def _check_option(group: str, name: Any, options: Sequence[str]) -> None:
    if name not in options and name in paths.options(group):
        raise InputError(f"{group}={name} cannot be used here; expected one of: {', '.join(options)}")
    check_known(group, name, options)


def _members(part: str, name: str | None) -> dict[str, Field]:
    """The keys below a part; those of the members of an expression lie below their names. Raises `InputError`."""
    if name is None:
        return {}
    if part == "condition" and expressions.is_expression(name):
        leaves = {leaf.name for leaf in expressions.leaves(expressions.parse(name))}
        members = {("" if ":" in leaf else leaf): fields.of_part(part, leaf) for leaf in leaves}
    else:
        building.node(part, name)  # refuses an unknown name
        members = {"": fields.of_part(part, name)}
    below = {".".join(filter(None, [part, leaf, k])): f for leaf, own in members.items() for k, f in own.items()}
    return {key: field for key, field in below.items() if not re.fullmatch(r"condition\.(.*\.)?(target|gradient)", key)}


def compose(program: str, words: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """conf/PROGRAM.yaml with `words`, key=value each, laid over it by Hydra, and the option of every group.

    A key that the class behind a `_target_` takes is known though the file does not name it. Raises `InputError` as
    `read` does, and where a value is missing.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    line = _words(program, words)
    file = fields.of_file(paths.conf() / f"{program}.yaml")
    groups = [key.removeprefix("defaults.") for key in file if key.startswith("defaults.")]
    chosen = [word for word in line if word.key in groups]
    for word in chosen:
        if word.key != "experiment":
            _check_option(word.key, word.value, paths.options(word.key))
        elif word.value is not None:
            _check_option(word.key, word.value, fields.experiments({*file, *groups}))
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(paths.conf())):
            config = hydra_compose(program, [word.line for word in chosen], return_hydra_config=True)
        choices = {group: config.hydra.runtime.choices.get(group) for group in groups}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        known = fields.of_node(cast("dict[str, Any]", OmegaConf.to_container(config)), {})
        for key, field in known.items():  # what is said in the file alone
            if not field.type and (isinstance(field.default, str) or key in _NULL):
                known[key] = replace(field, type=f"{_NULL.get(key, 'str')} | None")
        for word in line:
            if word not in chosen:
                key, value = word.key, word.value
                if key in known or not (word.added or key.endswith(("._target_", "._partial_"))):
                    _check(word, known)
                if key.endswith("._partial_") and type(value) is not bool:
                    raise InputError(f"cannot use '{word.line}'; {key} is true or false")
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"cannot use '{word.line}'; expected a finite number")
                value = word.text if key in known and _is_text(known[key], value) else value
                OmegaConf.update(config, key, value, force_add=True)
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(_missing(missing[0]))
        OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise InputError(f"cannot read the settings: {error}") from error
    return config, {group: option for group, option in choices.items() if option}


def _missing(key: str) -> str:
    return f"{key} is missing: add {key}={'FOLDER' if key.startswith('data') else 'VALUE'}"


def _words(verb: str, words: Sequence[str]) -> list[Word]:
    """Words as Hydra reads them. Raises `InputError` for one that is no key=value, and for a key that cannot be."""
    for place, word in enumerate(words):
        if overrides.SHAPE.fullmatch(word) is None:
            raise InputError(_misread(verb, words, place))
    return [overrides.read(word) for word in words]


def _misread(verb: str, words: Sequence[str], place: int) -> str:
    """What to type instead of a word that is no key=value."""
    word, before, after = words[place], words[place - 1] if place else "", words[place + 1 :]
    bare = word.lstrip("-").strip(":=")
    if word.startswith("-"):
        key, _, value = bare.partition("=")
        value = value or (after[0] if after else "VALUE")
        meant = f"keys have no dashes: {'target' if key == 't' else key}={value}"
    elif after and after[0] == "=":
        meant = f"no spaces around the sign: {word}={after[1] if len(after) > 1 else 'VALUE'}"
    elif word.endswith(":"):
        meant = f"{bare}={after[0] if after else 'VALUE'}"
    elif "=" in before:
        meant = f'a value with spaces stands in quotes: "{before} {word}"'
    else:
        key = "image" if re.search(r"\.(jpe?g|png|webp|bmp|gif)$", word, re.IGNORECASE) else _ALONE.get(verb, "target")
        meant = f"{key}={word}"
    return f"cannot read '{word}'; expected key=value: {meant}"


def _check(word: Word, known: Mapping[str, Field]) -> None:
    """Raise `InputError` unless the key is known and the value like its default, or what its annotation says."""
    key, value = word.key, word.value
    if key not in known:
        outer = known.get(key.partition(".")[0])
        if outer is None or outer.name in PARTS or not _has_keys(outer):
            if key in _MEANT:
                raise InputError(f"unknown key '{key}'; {_MEANT[key]}")
            raise unknown("key", key, known, hint="use target=NAME" if key.endswith(".target") else "")
        return
    field = known[key]
    default, told = field.default, _told(field)
    if value is None and (default is None or re.search("None|Optional", field.type) or field.type in ("", "Any")):
        return
    if key == "model" and isinstance(value, dict) and "_target_" in value:
        return
    fits = any(type(value) in _ACCEPTED[name][0] for name in told)
    if isinstance(value, dict) and not (_has_keys(field) or isinstance(default, Mapping)):
        fits = fits and "_target_" in value  # what takes the place of a number
    if told and not fits:
        expected = " or ".join(dict.fromkeys(_ACCEPTED[name][1] for name in told))
        other = f"condition.network.{key}"
        hint = f"; the network's are {other}={value}" if other in known else ""
        raise InputError(f"cannot use '{word.line}'; {key} is {expected}{hint}")
    numbers = bool(default) and isinstance(default, list | tuple) and all(type(item) is float for item in default)
    if numbers and isinstance(value, list) and not all(type(item) in (int, float) for item in value):
        raise InputError(f"cannot use '{word.line}'; {key} is a list of numbers, like {list(default)}")


def _told(field: Field) -> list[str]:
    """The keys of `_ACCEPTED` that say what a field takes, none where it takes anything."""
    if field.name in _TEXT and not isinstance(field.default, Mapping):
        return ["str"]
    plain = field.type if field.type.startswith(("Optional[", "Union[")) else re.sub(r"\[.*?\]", "", field.type)
    names = [name for name in re.findall(r"\w+", plain) if name not in ("Optional", "Union", "None")]
    if field.type and all(name in _ACCEPTED for name in names):
        return names
    return [] if isinstance(field.default, str) or field.default is None else [type(field.default).__name__]


def _is_text(field: Field, value: Any) -> bool:
    """Whether a number or a truth value that was typed is meant literally."""
    told = _told(field)
    kinds = [kind for name in told if name not in ("str", "Path") for kind in _ACCEPTED[name][0]]
    return len(set(told) & {"str", "Path"}) > 0 and type(value) in {int, float, bool} - set(kinds)


def _has_keys(field: Field) -> bool:
    """Whether further keys may stand below a field."""
    return field.default == {} or "Mapping" in field.type or (not field.type and field.default is None)
