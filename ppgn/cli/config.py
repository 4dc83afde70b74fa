"""From the words of a command line to the arguments of a function, or to the configuration of a training program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppgn import building, paths
from ppgn.cli import fields
from ppgn.cli.fields import PARTS, Field
from ppgn.conditions import words as expressions
from ppgn.errors import InputError, unknown

_WORD = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][\w./-]*)=(?P<value>.*)", re.DOTALL)
# What may take the place of a default, by the default's type.
_ACCEPTED: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int, dict), "a whole number"),
    float: ((float, int, dict), "a number"),
    list: ((list,), "a list, [a,b]"),
    tuple: ((list,), "a list, [a,b]"),
    dict: ((dict,), "one of the keys below it, KEY.NAME=VALUE"),
}


def read(verb: str, words: Sequence[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """`words`, key=value each -> the function that conf/VERB.yaml names, its arguments, and further settings.

    Arguments are what words or an experiment say, no defaults; a value that Hydra's grammar cannot read is meant
    literally. A part is its name, or, where words change its keys as in sampler.epsilon2=2, a mapping: of a sampler
    {"_target_": CLASS, KEY: value}, of a condition {"expression": NAME, KEY: value}. The settings are the keys that
    conf/VERB.yaml has beside the function's and, under "condition" and "sampler", the names of the parts.

    Raises `InputError` for a word without a key, an unknown key, part or experiment, and a value of the wrong type.
    """
    overrides = [_override(word) for word in words]
    typed = {override.key_or_group: override.value() for override in overrides}
    function, known, own = fields.command(verb, typed)
    renamed = {key: field.name for key, field in known.items()}
    given = _experiment(typed, known) if "experiment" in own else {}
    given |= {key: typed.pop(key) for key in [*typed]}
    names = {part: str(given.get(part, known[part].default)) for part in PARTS if part in known}
    for part, name in names.items():
        known |= _members(part, name)
    for override in overrides:
        if not override.is_add():
            _check(override, known | own)
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
        node = building.node(outer, names[outer]) if outer == "sampler" else arguments.get(outer) or {}
        node = {"expression": names[outer]} if outer == "condition" else node
        arguments[outer] = building.merged(node, changes)
    for key, field in known.items():
        if field.default == fields.MISSING and "." not in key and field.name not in arguments:
            raise InputError(f"{key} is missing: add {key}=VALUE")
    return function, arguments, settings


def _experiment(typed: Mapping[str, Any], known: Mapping[str, Field]) -> dict[str, Any]:
    """What the experiment that was typed sets, but for the keys of parts that were named beside it."""
    name = typed.get("experiment")
    if name is None:
        return {}
    _check_option("experiment", name, fields.experiments(known))
    named = tuple(f"{part}." for part in PARTS if part in typed)
    return {key: value for key, value in fields.experiment(name).items() if not key.startswith(named or "\0")}


def _check_option(group: str, name: Any, options: Sequence[str]) -> None:
    if name not in options and name in paths.options(group):
        raise InputError(f"{group}={name} cannot be used here; expected one of: {', '.join(options)}")
    if name not in options:
        raise unknown(group, str(name), options)


def _members(part: str, name: str) -> dict[str, Field]:
    """The keys below a part; those of the members of an expression lie below their names. Raises `InputError`."""
    if part == "condition" and expressions.is_expression(name):
        leaves = {leaf.name for leaf in expressions.leaves(expressions.parse(name))}
        members = {("" if ":" in leaf else leaf): fields.of_part(part, leaf) for leaf in leaves}
    else:
        building.node(part, name)  # refuses an unknown name
        members = {"": fields.of_part(part, name)}
    below = {
        ".".join(filter(None, [part, leaf, key])): field for leaf, m in members.items() for key, field in m.items()
    }
    return {key: field for key, field in below.items() if not re.fullmatch(r"condition\.(.*\.)?(target|gradient)", key)}


def compose(program: str, words: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """conf/PROGRAM.yaml with `words`, key=value each, laid over it by Hydra, and the option of every group.

    A key that the class behind a `_target_` takes is known though the file does not name it. Raises `InputError` as
    `read` does, and where a value is missing.
    """
    overrides = [_override(word) for word in words]
    file = fields.of_file(paths.conf() / f"{program}.yaml")
    groups = [key.removeprefix("defaults.") for key in file if key.startswith("defaults.")]
    chosen = [override for override in overrides if override.key_or_group in groups]
    for override in chosen:
        group, option = override.key_or_group, override.value()
        if group != "experiment":
            _check_option(group, option, paths.options(group))
        elif option is not None:
            _check_option(group, option, fields.experiments({*file, *groups}))
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(paths.conf())):
            lines = [str(override.input_line) for override in chosen]
            config = hydra_compose(program, overrides=lines, return_hydra_config=True)
        choices = {group: config.hydra.runtime.choices.get(group) for group in groups}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        known = fields.of_node(cast("dict[str, Any]", OmegaConf.to_container(config)), {})
        for override in overrides:
            if override not in chosen:
                if not override.is_add() and "._" not in override.key_or_group:
                    _check(override, known)
                OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"{missing[0]} is missing: add {missing[0]}=VALUE")
        OmegaConf.resolve(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"cannot read the settings: {error}") from error
    return config, {group: option for group, option in choices.items() if option}


def _override(word: str) -> Override:
    match = _WORD.fullmatch(word)
    if match is None:
        raise InputError(f"cannot read '{word}'; expected key=value, for example target=goldfish")
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(word)
        if not override.is_sweep_override():
            return override
    except (HydraException, OmegaConfBaseException):
        pass  # not Hydra's grammar: the words are meant literally
    literal = match["value"].replace("\\", "\\\\").replace("'", "\\'")
    try:
        return parser.parse_override(f"{match['key']}='{literal}'")
    except (HydraException, OmegaConfBaseException) as error:
        given = f"cannot read the key of '{word}'"
        raise InputError(f"{given}; expected letters, digits, _ and dots, for example sampler.steps=30") from error


def values(word: str) -> tuple[str, list[str]]:
    """key=value[,value ...] -> the key, and the values in Hydra's grammar. Raises `InputError` for anything else."""
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, OmegaConfBaseException):
        override = _override(word)
    if not override.is_sweep_override():
        return override.key_or_group, [override.get_value_element_as_str()]
    return override.key_or_group, [str(value) for value in override.sweep_string_iterator()]


def _check(override: Override, known: Mapping[str, Field]) -> None:
    """Raise `InputError` unless the key is known and the value like its default."""
    key, value = override.key_or_group, override.value()
    if key not in known:
        outer = known.get(key.partition(".")[0])
        free = outer is not None and outer.name not in PARTS and (outer.default is None or outer.default == {})
        if not free:
            raise unknown("key", key, known, hint="use target=NAME" if key.endswith(".target") else "")
        return
    default = known[key].default
    accepted, expected = _ACCEPTED.get(type(default), ((), ""))
    if accepted and value is not None and type(value) not in accepted:
        raise InputError(f"cannot use '{override.input_line}'; {key} is {expected}")
    numbers = bool(default) and isinstance(default, list | tuple) and all(type(item) is float for item in default)
    if numbers and isinstance(value, list) and not all(type(item) in (int, float) for item in value):
        raise InputError(f"cannot use '{override.input_line}'; {key} is a list of numbers, like {list(default)}")
