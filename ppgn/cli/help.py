"""What `--help` prints: the head comments of conf/, and every key with its default and its comment.

Nothing here imports torch or Hydra, so that help comes at once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ppgn import paths
from ppgn.cli import fields
from ppgn.cli.fields import MISSING, PARTS, Field
from ppgn.errors import check_known

VERBS = (
    *("sample", "maximize", "inpaint", "edit", "facets", "search"),
    *("invert", "deconv", "patches", "dissect", "card", "evaluate"),
    *("train", "import", "models", "classes", "units", "serve", "completion"),
)
_COLUMN, _WIDEST, _WIDTH = 25, 40, 120


def overview() -> str:
    """The help of `ppgn` itself."""
    return f"""\
ppgn: draw what a network wants to see, with a Plug & Play Generative Network

usage: ppgn COMMAND [key=value ...]

commands
{_listed((verb, first(verb)) for verb in VERBS)}

  ppgn COMMAND --help    the keys of a command, with examples; with sampler=NAME before it those of that sampler
  ppgn COMMAND --multirun key=a,b ...
                         a run for every combination of values; hydra/launcher=NAME says where (Hydra's plugins)
  ppgn --version

PPGN_DEBUG=1 shows the full traceback of an error."""


def programs() -> list[str]:
    """What `ppgn train` trains, sorted."""
    return sorted(path.stem.removeprefix("train_") for path in paths.conf().glob("train_*.yaml"))


def command(words: Sequence[str]) -> str:
    """The help of a command, whose keys are those of the parts, groups and experiment that `words` name beside it."""
    verb, *others = [word for word in words if not word.startswith("-")]
    typed: dict[str, Any] = {word.partition("=")[0]: word.partition("=")[2] for word in others if "=" in word}
    if verb == "train" and others and "=" not in others[0]:
        check_known("training program", others[0], programs())
        verb = f"train_{others[0]}"
        keys = _sections(_program(verb, typed))
    elif verb == "train":
        keys = _listed((name, first(f"train_{name}")) for name in programs())
    else:
        keys = _command(verb, typed)
    return fields.head(paths.conf() / f"{verb}.yaml").partition("\n\n")[2].replace("{keys}", keys)


def first(name: str) -> str:
    """What the first line of a file of conf/ says, as "sample" or "condition/unit"."""
    return fields.head(paths.conf() / f"{name}.yaml").partition("\n")[0]


def _command(verb: str, typed: Mapping[str, Any]) -> str:
    """The keys of a command; where a key chooses among functions and was not typed, what these do."""
    file = fields.of_file(paths.conf() / f"{verb}.yaml")
    function = str(file["_target_"].default) if "_target_" in file else ""
    choice = function.partition("${")[2].removesuffix("}")
    if choice and choice not in typed:
        names = file[choice].help.split(", ")
        texts = (fields.text(function.replace(f"${{{choice}}}", name)).partition("\n\n")[0] for name in names)
        return _listed((f"{choice}={name}", " ".join(text.split())) for name, text in zip(names, texts, strict=True))
    _, known, own = fields.command(verb, typed)
    presets = fields.experiments(known)
    options = {part: paths.options(part) for part in PARTS} | ({"experiment": presets} if "experiment" in own else {})
    shown = [(key, field) for key, field in (known | own).items() if presets or key != "experiment"]
    every = [_with_options(replace(field, name=key), options.get(field.name, ())) for key, field in shown]
    for part in (part for part in PARTS if part in known):
        name = str(typed.get(part, known[part].default) or fields.FULLEST.get(part, ""))
        every += _below(part, name, fields.of_part(part, name))
    return _sections(every)


def _program(program: str, typed: Mapping[str, Any]) -> list[Field]:
    """The keys of a training program, those of its groups behind the others."""
    file = fields.of_file(paths.conf() / f"{program}.yaml")
    groups = {key.partition(".")[2]: field for key, field in file.items() if key.startswith("defaults.")}
    preset = fields.experiment(typed["experiment"]) if typed.get("experiment") in paths.options("experiment") else {}
    found, below = [], []
    for group, field in groups.items():
        name = typed.get(group, preset.get(group, field.default))
        options = fields.experiments({*file, *groups}) if group == "experiment" else paths.options(group)
        found.append(_with_options(Field(group, name, field.help, field.section), options))
        below += _below(group, str(name), fields.of_part(group, str(name))) if group != "experiment" else []
    named = {field.name for field in below}
    found += [replace(field, name=key) for key, field in file.items() if key not in named]
    changed = {key: field.default for key, field in file.items() if key not in groups} | preset
    every = []
    for field in [field for field in found if not field.name.startswith("defaults.")] + below:
        said = field.help or file.get(field.name, field).help
        every.append(replace(field, default=changed.get(field.name, field.default), help=said))
    return every


def _with_options(field: Field, options: Sequence[str]) -> Field:
    return replace(field, help=f"{field.help} ({', '.join(options)})".strip()) if options else field


def _below(part: str, name: str, keys: Mapping[str, Field]) -> list[Field]:
    """The keys of a part in a section of their own."""
    given, section = ("target", "gradient") if part == "condition" else (), f"keys of {part}={name}"
    return [replace(field, name=f"{part}.{key}", section=section) for key, field in keys.items() if key not in given]


def _sections(every: Iterable[Field]) -> str:
    """Fields that say what they are, by section, in the order in which these open."""
    sections: dict[str, list[Field]] = {}
    for field in every:
        if field.help and not (isinstance(field.default, dict) and field.default):
            sections.setdefault(field.section, []).append(field)
    rows = {name: _listed((f"{f.name}={_value(f.default)}", f.help) for f in found) for name, found in sections.items()}
    return "\n\n".join(f"{name}\n{listed}" if name else listed for name, listed in rows.items())


def _value(value: Any) -> str:
    """A default as one would type it; a long list in short."""
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(_value, value))}]"
        return text if len(text) < 60 else "[...]"
    return {MISSING: "...", "None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _listed(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what is said of each, beside them or, below long ones, on the next line."""
    every = list(rows)
    column = max(_COLUMN, *(min(len(name) + 4, _WIDEST) for name, _ in every))
    lines = []
    for name, said in every:
        wrapped = textwrap.wrap(said, _WIDTH - column) or [""]
        if len(name) + 4 > column:
            wrapped = ["", *wrapped]
        lines += [f"  {name}".ljust(column) + wrapped[0], *(" " * column + line for line in wrapped[1:])]
    return "\n".join(line.rstrip() for line in lines)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells as aligned lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
