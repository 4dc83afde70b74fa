"""Parts by name: "annealed", "module:Class", "file.py:Class", a mapping with `_target_`, or the object itself.

One grammar wherever a part may be named: models, conditions, samplers, priors, encoders, generators.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import numbers
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppgn import paths
from ppgn.errors import InputError, unknown, why

ROOMS = ("ppgn.generators.", "ppgn.encoders.", "ppgn.priors.", "ppgn.networks.", "ppgn.interop.taef2.")
LOADERS = tuple(f"ppgn.networks.{name}.load" for name in ("imagenet", "places", "caffenet", "digits"))
SOURCES = ("weights", "labels", "path", "file", "folder", "url")  # arguments that may name a file or an address
RENAMED = {"image_shape": "signal_shape"}  # arguments in checkpoints of earlier versions


def locate(name: str) -> Any:
    """What "module:Class", "file.py:Class" or a dotted name stands for; its module is imported.

    A module is also looked for in the current folder. Raises `InputError` where there is no such thing.
    """
    source, colon, inside = name.partition(":")
    if not colon:
        source, _, inside = name.partition(".")
    try:
        found = _file(source) if source.endswith(".py") else _module(source)
        for part in inside.split("."):
            source += f".{part}"
            found = getattr(found, part) if colon or hasattr(found, part) else _module(source)
    except InputError:
        raise
    except (ModuleNotFoundError, AttributeError, ValueError, TypeError) as error:
        lack = f"cannot find '{name}': there is no '{getattr(error, 'name', None) or inside}'"
        raise InputError(f"{lack}; give module:Class or file.py:Class") from error
    return found


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path:  # as for `python -m`; an installed command does not look there
        sys.path.append(os.getcwd())
    return importlib.import_module(name)


def _file(source: str) -> Any:
    path = Path(source).expanduser().resolve()
    if str(path) in sys.modules:
        return sys.modules[str(path)]
    if not path.is_file():
        raise InputError(f"no file '{source}'; give file.py:Class, for example mine.py:Red")
    spec = importlib.util.spec_from_file_location(str(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what it imports from beside it
    sys.modules[str(path)] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[str(path)]
        raise InputError(f"'{source}' is no Python, line {error.lineno}: {error.msg}") from error
    except BaseException:
        del sys.modules[str(path)]
        raise
    return module


def exists(name: str) -> bool:
    """Whether a "module:Class" names a module that can be found, or a file; nothing of it is run."""
    source = name.partition(":")[0]
    top = source.partition(".")[0]
    here = source.endswith(".py") or Path(f"{top}.py").is_file() or Path(top).is_dir()
    return here or (top.isidentifier() and importlib.util.find_spec(top) is not None)


def build(node: Any, *, trust: str | Sequence[str] | None = None, **more: Any) -> Any:
    """Build the object of a mapping with `_target_`, the mappings inside it first; `more` are further arguments.

    trust: None for what a user typed, which may name anything. For what a file says, a sequence: then only generators,
        encoders, priors and networks of this package are built, none of which reads a file or an address that the
        file names, and what stands in the modules and files named here ("mine", "mine.py").

    Raises `InputError` for what cannot be found, is not trusted or refuses its arguments.
    """
    if not isinstance(node, Mapping):
        return [build(value, trust=trust) for value in node] if isinstance(node, list | tuple) else node
    values = {str(key): build(value, trust=trust) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return values
    target = node["_target_"]
    made = locate(str(target)) if trust is None else _trusted(target, values, trust)
    if not callable(made):
        raise InputError(f"'{target}' is {made!r}, nothing that can be built; give module:Class or file.py:Class")
    for key, value in values.items():
        if isinstance(value, str) and value == "???":
            raise InputError(f"'{target}' needs {key}: give {key}=VALUE")
    _check_numbers(str(target), made, values)
    try:
        return made(**values, **more)
    except InputError:
        raise
    except Exception as error:
        hint = "check its arguments" if trust is None else "it was written by another version, or misspelled"
        raise InputError(f"cannot build '{target}': {hint} ({why(error)})") from error


def _check_numbers(target: str, made: Any, values: Mapping[str, Any]) -> None:
    """Raise `InputError` where what has to be a number is something else."""
    parameters: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):  # it has no signature
        parameters = inspect.signature(made).parameters
    for key in values.keys() & parameters.keys():
        told, value = parameters[key].annotation, values[key]
        number = re.fullmatch(r"(int|float)( \| (int|float|None))*", getattr(told, "__name__", str(told)))
        if number and not isinstance(value, numbers.Number) and (value is not None or "None" not in number[0]):
            raise InputError(f"{key} of '{target}' is {str(value)[:80]!r}; expected a number")


def _trusted(target: Any, values: dict[str, Any], trust: str | Sequence[str]) -> Any:
    """The constructor that a file names, and its arguments checked; nothing that is not trusted is imported."""
    from torch import nn

    module, colon, name = str(target).partition(":") if ":" in str(target) else str(target).rpartition(".")
    trust = (trust,) if isinstance(trust, str) else trust
    ours = str(target).startswith(ROOMS) and colon == "."
    if not ours and not any(module in (known, f"{known}.py") or module.startswith(f"{known}.") for known in trust):
        named = module and isinstance(target, str)
        advice = f"if you trust that code, add trust=[{module}]" if named else "get it anew"
        why = "opens other files or addresses" if str(target).startswith("ppgn.interop.") else "is not a part of ppgn"
        raise InputError(f"checkpoint: refuses to build '{target}', which {why}; {advice}")
    refusal = InputError(f"checkpoint: refuses to build '{target}', which is no constructor of '{module}'")
    try:
        home = _file(module) if module.endswith(".py") else importlib.import_module(module) if ours else _module(module)
        made = vars(home)[name]
    except (ImportError, KeyError) as error:
        raise refusal from error
    if not callable(made) or not f"{getattr(made, '__module__', '')}.".startswith(f"{home.__name__}."):
        raise refusal  # it was only imported there
    if ours:
        if not (inspect.isclass(made) and issubclass(made, nn.Module)) and target not in LOADERS:
            raise refusal
        for key, value in values.items():
            if isinstance(value, str) and value != "default" and (key in SOURCES or re.search(r"://|^[~/.]", value)):
                raise InputError(f"checkpoint: refuses {key}={value} of '{target}': a checkpoint names no other file")
        values |= {new: values.pop(old) for old, new in RENAMED.items() if old in values}
    return made


def node(group: str, given: str | Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with `_target_` of a name in conf/GROUP, of "module:Class", or of a mapping, copied.

    Raises `InputError` for an unknown name, telling the nearest.
    """
    if isinstance(given, Mapping):
        if "_target_" not in given:
            expected = "expected a name, module:Class or {_target_: NAME}"
            raise InputError(f"{group}={dict(given)} names nothing; {expected}")
        return {**given}
    if ":" in given:
        return {"_target_": given}
    if given not in paths.options(group):
        network = "; a network of that name is network=NAME" if group == "condition" else ""
        raise unknown(group, given, paths.options(group), f"or give module:Class or file.py:Class{network}")
    import yaml

    found: dict[str, Any] = yaml.safe_load((paths.conf() / group / f"{given}.yaml").read_text(encoding="utf-8"))
    return found


def part(group: str, given: Any, **more: Any) -> Any:
    """A part of a `group` ("sampler", "prior", ...): built from a name or a mapping, or the object itself as it is."""
    return build(node(group, given), **more) if isinstance(given, str | Mapping) else given


def parameters(target: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of what a name stands for. Raises `InputError` where that is nothing to be built."""
    made = locate(target)
    if not callable(made):
        raise InputError(f"'{target}' is {made!r}, nothing that can be built; give module:Class or file.py:Class")
    return inspect.signature(made).parameters


def merged(node: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with `settings` laid over it; "network.size" is `size` in `network`."""
    result = {**node}
    for key, value in settings.items():
        outer, dot, inner = key.partition(".")
        change = {inner: value} if dot else value
        below = isinstance(change, Mapping) and isinstance(result.get(outer), Mapping) and "_target_" not in change
        result[outer] = merged(result[outer], change) if below else change
    return result
