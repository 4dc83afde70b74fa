"""From the words of a command line to a checked configuration, and from that to objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppgn import paths
from ppgn.conditions import words as expression
from ppgn.errors import InputError, unknown

_WORD = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][\w./]*)=(?P<value>.*)", re.DOTALL)
_SEEDS = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
_MOST_SEEDS = 100_000
# What may take the place of a default, by the default's type.
_ACCEPTED: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int, dict), "a whole number"),
    float: ((float, int, dict), "a number"),
    list: ((list,), "a list, [a,b]"),
    dict: ((dict,), "one of the keys below it, KEY.NAME=VALUE"),
}


def compose(verb: str, words: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """The configuration conf/VERB.yaml with `words`, key=value each, laid over it, and the option of every group.

    A value that Hydra's grammar cannot read is taken literally, so class names and captions need no second quoting.
    Where condition= is an expression, as "imagenet:castle & places:snowfield", the node `condition` holds its text as
    `expression` and the settings of each of its conditions under the condition's name; it is also what `target` is
    unless the expression leaves one open. With experiment=NAME, conf/experiment/NAME.yaml lies between the two. Raises
    `InputError` for a word without a key, an unknown key or option, an experiment of another verb, a value of the wrong
    type and a missing one.
    """
    options = _default_options(verb)
    text, words = _take_expression(words) if "condition" in options else ("", words)
    overrides = [_override(word) for word in words]
    groups = [override for override in overrides if override.key_or_group in options]
    chosen = {override.key_or_group: _option(override, verb) for override in groups}
    if chosen.get("experiment"):
        options |= _Experiment.read(chosen["experiment"]).options
    options = {group: option for group, option in (options | chosen).items() if option}
    lines = _lines(groups) + _members(text)
    # A key of this verb that bears the name of a group of another: Hydra would look for an option of that.
    plain = [o for o in overrides if o not in groups and (paths.conf() / o.key_or_group).is_dir()]
    with initialize_config_dir(version_base="1.3", config_dir=str(paths.conf())):
        try:
            base = _with_sampler(hydra_compose(verb, overrides=lines))
            for override in overrides:
                if re.fullmatch(r"condition\..*\btarget", override.key_or_group):
                    raise InputError(f"cannot use '{override.input_line}'; use target={override.value()}")
                if override not in groups and not override.is_add():
                    _check_value(override, base)
            config = hydra_compose(
                verb, overrides=lines + _lines([o for o in overrides if o not in plain and o not in groups])
            )
            config = _with_sampler(config)
            for override in plain:
                OmegaConf.update(config, override.key_or_group, override.value())
            if text:
                options["condition"] = text
                _put_expression(config, text)
            _check_complete(config)
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"cannot read the settings: {error}") from error
    return config, options


def _take_expression(words: Sequence[str]) -> tuple[str, list[str]]:
    """The expression behind the last `condition=`, "" where it is a plain name, and the words without it."""
    asked = [word for word in words if word.startswith("condition=")]
    text = asked[-1].removeprefix("condition=").strip() if asked else ""
    if not expression.is_expression(text):
        return "", list(words)
    return text, [word for word in words if word not in asked]


def _members(text: str) -> list[str]:
    """The overrides that put the conditions of an expression into the place of the one default."""
    names = dict.fromkeys(leaf.name for leaf in expression.leaves(expression.parse(text))) if text else {}
    inside = [name for name in names if ":" not in name]
    return [*(["~condition"] if names else []), *(f"+condition@condition.{name}={name}" for name in inside)]


def _put_expression(config: DictConfig, text: str) -> None:
    open_leaf = any(leaf.target is None and ":" not in leaf.name for leaf in expression.leaves(expression.parse(text)))
    given = config.target if not OmegaConf.is_missing(config, "target") else None
    if given is not None and not open_leaf:
        raise InputError(f"target={given} is not asked for: every condition in '{text}' has its own; leave it out")
    OmegaConf.update(config, "condition.expression", text, force_add=True)
    if not open_leaf:
        OmegaConf.update(config, "target", text)


def take(words: Sequence[str], key: str) -> tuple[Any, list[str]]:
    """The value of the last `key`=value among `words`, None where there is none, and the words without it."""
    asked = [word for word in words if word.startswith(f"{key}=")]
    return _override(asked[-1]).value() if asked else None, [word for word in words if word not in asked]


def experiments(verb: str) -> list[str]:
    """The names that `experiment=` takes: of the files in conf/experiment that set what conf/VERB.yaml has."""
    known = _read(f"{verb}.yaml").keys() | _default_options(verb).keys()
    return [name for name in paths.options("experiment") if _Experiment.read(name).sets <= known]


def sets_model(experiment: str) -> bool:
    """Whether an experiment is of a model of its own; one that does not exist is not."""
    return experiment in paths.options("experiment") and "model" in _Experiment.read(experiment).sets


@dataclass(frozen=True)
class _Experiment:
    """What a file of conf/experiment says: the outermost keys that it sets, and the options that it takes of groups."""

    sets: frozenset[str]
    options: dict[str, str]

    @staticmethod
    def read(name: str) -> _Experiment:
        content = _read(f"experiment/{name}.yaml")
        entries = [entry for entry in content.pop("defaults", []) if isinstance(entry, dict)]
        options = {key.removeprefix("override /"): option for entry in entries for key, option in entry.items()}
        return _Experiment(frozenset({*content, *options}), options)


def _read(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(paths.conf() / name)))


def _default_options(verb: str) -> dict[str, str]:
    """The option that conf/VERB.yaml takes for every group in its defaults."""
    entries = [entry for entry in _read(f"{verb}.yaml")["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items()}


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
    return parser.parse_override(f"{match['key']}='{literal}'")


def values(word: str) -> tuple[str, list[str]]:
    """key=value[,value ...] -> the key, and the values in Hydra's grammar. Raises `InputError` for anything else."""
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, OmegaConfBaseException):
        override = _override(word)
    if not override.is_sweep_override():
        return override.key_or_group, [override.get_value_element_as_str()]
    return override.key_or_group, [str(value) for value in override.sweep_string_iterator()]


def _lines(overrides: Sequence[Override]) -> list[str]:
    lines = [str(override.input_line) for override in overrides]
    return [f"++{line}" if line.startswith("sampler.") else line for line in lines]


def _with_sampler(config: DictConfig) -> DictConfig:
    """A configuration whose sampler has the values of its class where it says nothing."""
    if "sampler" not in config:
        return config
    made = get_class(config.sampler._target_)
    values = {field.name: field.default for field in fields(made) if field.name not in config.sampler}
    for name, value in values.items():
        plain = list(value) if isinstance(value, tuple) else value
        OmegaConf.update(config, f"sampler.{name}", plain, force_add=True)
    return config


def _option(override: Override, verb: str) -> str:
    group, option = override.key_or_group, str(override.value())
    options = experiments(verb) if group == "experiment" else paths.options(group)
    if group == "experiment" and override.value() is None:
        return ""
    if group == "experiment" and option in paths.options(group) and option not in options:
        raise InputError(f"experiment={option} cannot be used here; expected one of: {', '.join(options)}")
    if option not in options:
        raise unknown(group, option, options)
    return option


def _check_value(override: Override, base: DictConfig) -> None:
    key, value, defaults = override.key_or_group, override.value(), _flat(base)
    if key not in defaults:
        raise unknown("key", key, [name for name in leaves(base) if "._" not in name])
    accepted, expected = _ACCEPTED.get(type(defaults[key]), ((), ""))
    if accepted and value is not None and type(value) not in accepted:
        raise InputError(f"cannot use '{override.input_line}'; {key} is {expected}")
    numbers = isinstance(defaults[key], list) and all(type(item) is float for item in defaults[key])
    if numbers and isinstance(value, list) and not all(type(item) in (int, float) for item in value):
        raise InputError(f"cannot use '{override.input_line}'; {key} is a list of numbers, like {defaults[key]}")


def _check_complete(config: DictConfig) -> None:
    missing = [key for key, value in _flat(config).items() if value == "???"]
    if "target" in missing:
        raise InputError("nothing to draw: add target=NAME, for example target=goldfish")
    if missing:
        raise InputError(f"{missing[0]} is missing: add {missing[0]}=VALUE")


def _flat(config: DictConfig) -> dict[str, Any]:
    """Every dotted key of a configuration, inner nodes included, with its value as written."""

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            yield f"{prefix}{name}", value
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")

    return dict(walk(cast("dict[str, Any]", OmegaConf.to_container(config)), ""))


def leaves(config: DictConfig) -> dict[str, Any]:
    """The values of a configuration by dotted key, lists as a whole."""
    return {key: value for key, value in _flat(config).items() if not isinstance(value, dict)}


def build(config: DictConfig, **more: Any) -> Any:
    """The object that a configuration with `_target_` describes; `more` are further arguments.

    Raises `InputError` where the object's own class refuses its arguments.
    """
    try:
        return instantiate(config, **more)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        raise cause or InputError(f"cannot build {config._get_full_key(None)}: {error.__cause__ or error}") from error


def whole(config: DictConfig, key: str, least: int) -> int:
    """The whole number at `key`, refused below `least`."""
    value = config[key]
    if type(value) is not int or value < least:
        raise InputError(f"{key}={value} cannot be used; expected a whole number from {least} on")
    return value


def seeds(value: object) -> tuple[int, ...]:
    """Seeds as people type them: 3, "0-15", "0-3,8,10-12" or [1, 4, 9] -> (0, 1, 2, ...), in the order given.

    Raises `InputError` for anything else, for a seed given twice, and for more than 100,000 seeds.
    """
    parts = [str(part) for part in value] if isinstance(value, (list, ListConfig)) else str(value).split(",")
    found: dict[int, None] = {}
    for part in parts or [""]:
        match = _SEEDS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 2**63:
            raise InputError(f"cannot read seeds '{part.strip()}'; expected 0-15, [1,4,9], 3 or 0-3,8,10-12")
        if last - first >= _MOST_SEEDS - len(found):
            raise InputError(f"seeds={','.join(parts)} are more than {_MOST_SEEDS:,} chains; start several runs")
        again = next((seed for seed in range(first, last + 1) if seed in found), None)
        if again is not None:
            raise InputError(f"seed {again} is given twice in seeds={','.join(parts)}; give every seed once")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)
