"""What a function, a class or a configuration file takes, read from its source: names, defaults and comments.

Nothing that is read is imported, so that help comes at once. A trailing comment says what a parameter is, or comment
lines directly above it; a line `# -- what to draw --` opens a section. Defaults are literals or names of such.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from ppgn import paths
from ppgn.errors import InputError, check_known

MISSING = "???"  # the default of what has to be given
PARTS = ("condition", "sampler")  # parameters that take a name of conf/, with keys of their own below
FULLEST = {"sampler": "anchored"}  # where no part is named and what suits is taken: the one that has all their keys
_SHARED = re.compile(r"the fields of ([\w.]+)")  # behind **options: the class that declares them
_SECTION = re.compile(r"--\s*(.*?)\s*--")
# A comment, or a string, in which # begins none; Python's own tokenizer takes ten times as long.
_COMMENT = re.compile(
    r'''(?P<quote>"""|\'\'\'|"|\')(?:\\.|(?!(?P=quote)).)*(?P=quote)|#(?P<comment>[^\n]*)''', re.DOTALL
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Field:
    """A parameter or key: its default, what it is, the section of the help where it stands, and its annotation."""

    name: str
    default: Any = MISSING
    help: str = ""
    section: str = ""
    type: str = ""


def of(path: str) -> dict[str, Field]:
    """The parameters of what `_target_` names: a function, a method, a dataclass or another class, by name.

    `path` is dotted, or "module:Name", or "file.py:Name". Empty where there is no such source.
    """
    found = _locate(path)
    return {} if found is None else _parameters(*found)


def of_node(node: Mapping[str, Any], said: Mapping[str, Field], prefix: str = "") -> dict[str, Field]:
    """The keys of a mapping, inner ones dotted: its own, of which `said` tells more, and what its `_target_` takes."""
    taken = of(str(node["_target_"])) if "_target_" in node else {}
    found: dict[str, Field] = {}
    for name in [*(name for name in node if not name.startswith("_")), *(name for name in taken if name not in node)]:
        field, own = taken.get(name, Field(name)), said.get(prefix + name, Field(name))
        if name in node or field.default != MISSING:  # what is neither is given by who builds it
            value = node.get(name, field.default)
            key = prefix + name
            found[key] = Field(key, value, own.help or field.help, own.section, field.type)
            if isinstance(value, Mapping):
                found |= of_node(value, said, f"{key}.")
    return found


def of_part(group: str, name: str) -> dict[str, Field]:
    """The keys of conf/GROUP/NAME.yaml, or of "module:Class"; empty for what is neither."""
    path = paths.conf() / group / f"{name}.yaml"
    if path.is_file():
        return of_node(yaml.safe_load(path.read_text()), of_file(path))
    return of_node({"_target_": name}, {}) if ":" in name else {}


def command(verb: str, typed: Mapping[str, Any]) -> tuple[str, dict[str, Field], dict[str, Field]]:
    """What conf/VERB.yaml says: the function, its parameters by the keys that people type, and further keys.

    A parameter without a comment is none that people type.
    A key whose default is "${NAME}" is the parameter NAME under another name; "${KEY}" in the function's own name is
    what was typed for that key. Raises `InputError` where that is nothing known.
    """
    own = {key: field for key, field in of_file(paths.conf() / f"{verb}.yaml").items() if "." not in key}
    function = str(own.pop("_target_", Field("", "")).default)
    for key in re.findall(r"\$\{(\w+)\}", function):
        choices, value = own[key].help.split(", "), str(typed.get(key, MISSING))
        if value == MISSING:
            raise InputError(f"{key} is missing: add {key}=NAME, one of {', '.join(choices)}")
        check_known(key, value, choices)
        function = function.replace(f"${{{key}}}", value)
    renamed = {str(field.default)[2:-1]: key for key, field in own.items() if str(field.default).startswith("${")}
    known = {renamed.get(name, name): field for name, field in of(function).items() if field.help}
    return function, known, {key: field for key, field in own.items() if key not in known}


def experiment(name: str) -> dict[str, Any]:
    """What conf/experiment/NAME.yaml sets, by dotted key."""
    found = of_file(paths.conf() / "experiment" / f"{name}.yaml")
    return {k.removeprefix("defaults."): f.default for k, f in found.items() if not isinstance(f.default, dict)}


def experiments(known: Collection[str]) -> list[str]:
    """The experiments that set nothing but `known` keys and what is below them."""
    names = paths.options("experiment")
    return [name for name in names if {key.partition(".")[0] for key in experiment(name)} <= set(known)]


def text(path: str) -> str:
    """The docstring of what `path` names, "" where there is none."""
    found = _locate(path)
    node = found[1] if found else None
    return (isinstance(node, _Function | ast.ClassDef) and ast.get_docstring(node)) or ""


def of_file(path: Path) -> dict[str, Field]:
    """The keys of a configuration file, inner ones dotted, the groups of its defaults list under "defaults."."""
    content = path.read_text()
    lines = content.splitlines()
    first = len(_leading(lines))
    loader = yaml.SafeLoader(content)
    fields: dict[str, Field] = {}
    section, last = "", -1
    for key, number, value in _keys(loader.get_single_node(), ""):
        said = ""
        if number != last:  # what is said in a line is said of its first key
            top = number
            while top > first and lines[top - 1].lstrip().startswith("#"):
                top -= 1
            trailing = re.search(r"\s# ?(.*)", lines[number].partition(":")[2])
            above = [line.strip()[1:].strip() for line in lines[top:number]]
            said, section = _read(above + ([trailing[1]] if trailing else []), section)
        fields[key], last = Field(key, loader.construct_object(value, deep=True), said, section), number
    return fields


def _keys(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int, yaml.Node]]:
    """Dotted keys with the line where each stands and its value; of a defaults list the groups."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        key = prefix + name.value.removeprefix("override /")
        if key == "defaults":
            for group in value.value:
                yield from _keys(group, "defaults.")
        else:
            yield key, name.start_mark.line, value
            yield from _keys(value, f"{key}.")


def head(path: Path) -> str:
    """The comment that a configuration file begins with."""
    lines = _leading(path.read_text().splitlines())
    return "\n".join(re.sub("^# ?", "", line) for line in lines if not line.startswith("# @package"))


def _leading(lines: list[str]) -> list[str]:
    return [*takewhile(lambda line: line.startswith("#"), lines)]


def _read(comments: list[str], section: str) -> tuple[str, str]:
    """Comment lines in order -> what they say, and the section that they open or leave open."""
    said: list[str] = []
    for line in comments:
        match = _SECTION.fullmatch(line)
        if match:
            said, section = [], match[1]
        elif not re.match(r"(noqa|type:|fmt:)", line):
            said.append(line)
    return " ".join(said), section


class _Module:
    """The source of a module: its tree and its comments by line, own ones and those behind code."""

    def __init__(self, name: str, path: Path) -> None:
        source = path.read_text()
        self.name, self.package = name, name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.tree = ast.parse(source)
        self.own: dict[int, str] = {}
        self.trailing: dict[int, str] = {}
        line, seen = 1, 0
        for found in _COMMENT.finditer(source):
            if found["comment"] is not None:
                line, seen = line + source.count("\n", seen, found.start()), found.start()
                before = source[source.rfind("\n", 0, seen) + 1 : seen]
                (self.trailing if before.strip() else self.own)[line] = found["comment"].strip()

    def find(self, names: list[str]) -> tuple[_Module, ast.AST] | None:
        """The definition, or the value, that `names`, outermost first, lead to, and the module where it stands."""
        body: list[ast.stmt] = self.tree.body
        for number, name in enumerate(names):
            node = next((found for statement in body for found in self._named(statement, name)), None)
            if isinstance(node, ast.ImportFrom):
                parts = self.package.split(".")
                origin = [".".join(parts[: len(parts) - node.level + 1])] if node.level else []
                original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
                return _locate(".".join([*origin, *filter(None, [node.module]), original, *names[number + 1 :]]))
            if node is None or number == len(names) - 1:
                return None if node is None else (self, node)
            if not isinstance(node, ast.ClassDef):
                return None
            body = node.body
        return None

    @staticmethod
    def _named(statement: ast.stmt, name: str) -> Iterator[ast.AST]:
        if isinstance(statement, _Function | ast.ClassDef | ast.ImportFrom):
            names = [a.asname or a.name for a in getattr(statement, "names", [])] or [getattr(statement, "name", "")]
            yield from [statement] if name in names else []
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                yield statement.value

    def literal(self, node: ast.AST | None) -> Any:
        """The value of a default; its text where that is neither a literal nor the name of one."""
        if node is None:
            return MISSING
        if isinstance(node, ast.Tuple | ast.List):
            parts = [self.literal(x.value) if isinstance(x, ast.Starred) else [self.literal(x)] for x in node.elts]
            items = [item for part in parts for item in part]
            return tuple(items) if isinstance(node, ast.Tuple) else items
        try:
            return ast.literal_eval(node)
        except ValueError:
            found = self.find(ast.unparse(node).split("."))
            return found[0].literal(found[1]) if found else ast.unparse(node)

    def field(
        self, node: ast.arg | ast.AnnAssign, name: str, default: ast.AST | None, before: int, section: str
    ) -> Field:
        """A parameter that stands below line `before`, with its comments."""
        end = max(node.end_lineno or 0, (getattr(default, "end_lineno", None) or 0))
        lines = [self.own[line] for line in range(before + 1, node.lineno) if line in self.own]
        trailing = [self.trailing[end]] if end in self.trailing else []
        said, section = _read(lines + trailing, section)
        told = "" if node.annotation is None else ast.unparse(node.annotation)
        return Field(name, self.literal(default), said, section, told)


def _locate(path: str) -> tuple[_Module, ast.AST] | None:
    place, _, name = path.partition(":")
    parts = path.split(".")
    dotted = [(".".join(parts[:count]), parts[count:]) for count in range(len(parts) - 1, 0, -1)]
    for source, names in [(place, name.split("."))] if name else dotted:
        module = _module(source)
        if module is not None:
            return module.find(names)
    return None


@lru_cache
def _module(name: str) -> _Module | None:
    """The source of a module by its dotted name or its file."""
    if name.endswith(".py"):
        path = Path(name).expanduser()
        return _Module(name, path) if path.is_file() else None
    top, *inner = parts = name.split(".")
    if not all(parts) or top in sys.stdlib_module_names:  # nothing is called so, or has parameters that people type
        return None
    folder = paths.train() if top == "train" else None
    if folder is None:
        spec = importlib.util.find_spec(top)
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            return None
        if not spec.submodule_search_locations:
            return None if inner else _Module(name, Path(spec.origin))
        folder = Path(spec.origin).parent
    place = folder.joinpath(*inner)
    candidates = [place / "__init__.py", *([place.with_suffix(".py")] if inner else [])]
    return next((_Module(name, file) for file in candidates if file.is_file()), None)


def _parameters(module: _Module, node: ast.AST) -> dict[str, Field]:
    if isinstance(node, _Function):
        return _arguments(module, node, skip=0)
    if not isinstance(node, ast.ClassDef):
        return {}
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init is not None:
        return _arguments(module, init, skip=1)
    fields: dict[str, Field] = {}
    for base in reversed(node.bases):
        found = module.find(ast.unparse(base.value if isinstance(base, ast.Subscript) else base).split("."))
        fields |= _parameters(*found) if found else {}
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        before, section = node.lineno, ""
        for item in node.body:
            told = not re.search("ClassVar|init=False", ast.unparse(item))
            if told and isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                name, default = item.target.id, item.value
                if isinstance(default, ast.Call):  # field(default=...)
                    default = next((word.value for word in default.keywords if word.arg == "default"), default)
                own = module.field(item, name, default, before, section)
                fields[name] = replace(own, help=own.help or fields.get(name, own).help)
                section = own.section
            before = item.end_lineno or before
    return fields


def _arguments(module: _Module, node: _Function, skip: int) -> dict[str, Field]:
    """The parameters of a function, of a method without `self` or `cls`."""
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults) + list(given.kw_defaults)
    bound = skip or int(any(ast.unparse(decorator) == "classmethod" for decorator in node.decorator_list))
    fields: dict[str, Field] = {}
    before, section = node.lineno, ""
    for argument, default in list(zip([*plain, *given.kwonlyargs], defaults, strict=True))[bound:]:
        found = module.field(argument, argument.arg, default, before, section)
        fields[argument.arg], section = found, found.section
        before = max(argument.end_lineno or 0, getattr(default, "end_lineno", None) or 0)
    shared = given.kwarg and _SHARED.fullmatch(module.trailing.get(given.kwarg.lineno, ""))
    home = module.find(shared[1].split(".")) if shared else None
    for name, field in (_parameters(*home) if home else {}).items():  # an own default and comment go into its place
        own = fields.pop(name, field)
        fields[name] = replace(field, default=own.default, help=own.help or field.help, type=own.type or field.type)
    return fields
