"""What a page asks for, as a call of the library: checked words, the command and the Python lines that repeat it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppgn import arguments, files, paths
from ppgn.conditions import words
from ppgn.errors import InputError, check_known, unknown
from ppgn.networks import own

CHAINS = 64  # of a job, at most
STEPS = 10_000  # of a chain, at most
LETTERS = 1000  # of a text, at most
MODEL = "ppgn-1"
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
DEFAULTS = {"model": "natural64", "condition": "imagenet", "network": NETWORKS[1]}
KINDS = ("class", "expression", "caption", "unit")  # of what can be drawn
METHODS = ["ppgn", "maco", "lucid"]  # of a unit's images where there are no photographs
_HUB = re.compile(r"hf:\w[\w.-]*/\w[\w.-]*(@\w[\w.-]*)?")
_NETWORK = re.compile(r"(timm|torchvision|huggingface)/\w[\w./-]*")
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")
_KEYS = {"inpaint": {"hole": "mask"}}  # parameters that have another name on the command line


@dataclass(frozen=True)
class Call:
    """A function of `ppgn`, which is a command too, and its arguments but for device and folder."""

    verb: str
    arguments: Mapping[str, Any]
    first: str = ""  # the argument that Python takes without its name
    form: Mapping[str, Any] = field(default_factory=dict)  # what was asked, to be changed and asked again

    def command(self) -> str:
        """What to type in a terminal."""
        keys = _KEYS.get(self.verb, {})
        typed = [word for key, value in self.arguments.items() for word in _typed(keys.get(key, key), value)]
        return shlex.join(["ppgn", self.verb, *typed])

    def python(self) -> str:
        """What to run in Python."""
        ordered = sorted(self.arguments.items(), key=lambda item: item[0] != self.first)
        given = [_python(value) if key == self.first else f"{key}={_python(value)}" for key, value in ordered]
        return f'import ppgn\n\ndone = ppgn.{self.verb}({", ".join(given)})\ndone.save("FOLDER")'


def _typed(key: str, value: Any) -> list[str]:
    """KEY=VALUE, one for each key below a mapping; the part's own name stands first."""
    if not isinstance(value, Mapping):
        return [f"{key}={_quoted(value)}"]
    name = [f"{key}={_quoted(value['expression'])}"] if "expression" in value else []
    return name + [
        word for inner, own in value.items() if inner != "expression" for word in _typed(f"{key}.{inner}", own)
    ]


def _quoted(value: Any) -> str:
    """A value in the grammar of the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, int | float) or (_PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false")):
        return str(value)
    if re.fullmatch(r"[\w./:@-]+", value) and not re.fullmatch(r"[+-]?[\d._]+(e[+-]?\d+)?|[+-]?(inf|nan)", value, re.I):
        return str(value) if value.lower() not in ("null", "true", "false") else f"'{value}'"
    text = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{text}'"


def _python(value: Any) -> str:
    """A value as Python's source has it, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(key)}: {_python(own)}" for key, own in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_python, value))}]"
    return repr(value)


@dataclass(frozen=True)
class Place:
    """What pages may use: the folder of their runs and uploads, one of models, and one of photographs, or None."""

    folder: Path
    models: Path | None = None
    data: Any = None

    def local(self) -> dict[str, Path]:
        """The models in the folder of models, by the name of their file."""
        found = [] if self.models is None else sorted(self.models.glob("*.safetensors"))
        return {path.name: path for path in found}

    def upload(self, name: Any) -> str:
        """An uploaded file, or a picture of a run, inside the folder. Raises `InputError` for any other path."""
        path = inside(self.folder, str(name))
        if path is None or not path.is_file() or path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise InputError(f"there is no picture '{str(name)[:80]}' here any more; choose it again")
        return str(self.folder / str(name))


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` in a folder, or None where it leads out of it."""
    if "\0" in name or any(len(part) > 255 for part in name.split("/")):  # which the system cannot look up
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    return path if path.is_relative_to(root) and path != root else None


class Form:
    """What a page sent, key by key. Raises `InputError` for what is of the wrong kind, and for keys nobody took."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping):
            raise InputError("cannot read what the page sent; load the page again")
        self.given, self.taken = given, set[str]()

    def text(self, key: str, default: str = "") -> str:
        """A text of one line; the default where there is none."""
        value = self._take(key)
        value = "" if value is None else str(value) if isinstance(value, int | float) else value
        if not isinstance(value, str) or len(value) > LETTERS or not value.isprintable():
            raise InputError(f"cannot use {key}; expected a line of at most {LETTERS} letters")
        return value.strip() or default

    def number(self, key: str, most: int, least: int = 1) -> int | None:
        """A whole number, None where there is none."""
        value = self.text(key)
        if not value:
            return None
        if not value.isdecimal() or not least <= int(value[:12]) <= most:
            raise InputError(f"{key}={value[:20]} cannot be used; expected a whole number from {least} to {most}")
        return int(value)

    def share(self, key: str) -> float | None:
        """A number above 0, at most 1, None where there is none."""
        value = self._take(key)
        return None if value is None else arguments.share(key, value)

    def seeds(self, default: str) -> str:
        """Seeds in words."""
        text = self.text("seeds", default)
        chains = arguments.seeds(text)
        if len(chains) > CHAINS:
            raise InputError(f"seeds={text} are {len(chains)} chains; the page walks at most {CHAINS}, a terminal more")
        return text

    def one(self, key: str, known: Sequence[str]) -> str:
        """One of the names known, the first where there is none."""
        value = self.text(key, known[0])
        check_known(key, value, known)
        return value

    def texts(self, key: str) -> list[str]:
        """Texts, at most eight."""
        value = self._take(key)
        every = [] if value is None else value
        if not isinstance(every, list) or len(every) > 8:
            raise InputError(f"cannot use {key}; expected at most eight")
        return [Form({key: one}).text(key) for one in every]

    def end(self) -> None:
        """Refuse what nobody took."""
        left = set(self.given) - self.taken
        if left:
            raise InputError(f"unknown key '{sorted(map(str, left))[0][:40]}'")

    def _take(self, key: str) -> Any:
        self.taken.add(key)
        return self.given.get(key)


def model_of(name: str, place: Place) -> str:
    """What `model=` takes: a model that comes along, a file in the folder of models, hf:USER/NAME.

    Raises `InputError` for anything else, as other paths.
    """
    shipped, local = files.shipped(MODEL), place.local()
    if name in local:
        return str(local[name])
    if name not in shipped and not _HUB.fullmatch(name):
        raise unknown("model", name, [*shipped, *local], "or hf:USER/NAME; files lie in the folder of models=FOLDER")
    return name


def network_of(name: str) -> str:
    """A network whose units can be asked for. Raises `InputError` for others, as files, which are code."""
    file = ".." in name or Path(name).suffix in (".pt2", *own.TORCHSCRIPT)
    if name not in NETWORKS and (file or not _NETWORK.fullmatch(name)):
        raise unknown("network", name, NETWORKS, "or timm/NAME, torchvision/NAME; files are for the command line")
    return name


def expression_of(text: str) -> str:
    """A condition in words, of names alone. Raises `InputError` for what names code, and for what cannot be read."""
    known = paths.options("condition")
    for leaf in words.leaves(words.parse(text)):
        check_known("condition", leaf.name, known, "code of your own is for the command line")
    return text


def _asked(form: Form) -> dict[str, Any]:
    """Target and condition of what is to be drawn. Raises `InputError`."""
    kind = form.one("what", KINDS)
    if kind == "class":
        condition = form.one("condition", words.VOCABULARIES)
        targets: list[Any] = [int(one) if one.isdecimal() else one for one in form.texts("targets")]
        if not targets:
            raise InputError("nothing to draw: type a class, for example goldfish")
        return {"target": targets[0] if len(targets) == 1 else targets, "condition": condition}
    if kind == "caption":
        text = form.text("caption")
        if not text:
            raise InputError("nothing to draw: type a sentence, for example two dogs run on the grass")
        return {"target": text, "condition": "caption"}
    if kind == "expression":
        text = form.text("expression")
        if not text:
            raise InputError('nothing to draw: type an expression, for example "imagenet:castle & ~places:beach"')
        return {"condition": expression_of(text)}
    unit, network, layer = _unit(form)
    inner: dict[str, Any] = {} if network == NETWORKS[1] else {"network": {"name": network}}
    return {"target": unit, "condition": {"expression": "unit", **inner, "layer": layer}}


def _unit(form: Form) -> tuple[int, str, str]:
    """A unit's number, its network and layer. Raises `InputError` for what is missing."""
    number = form.number("unit", 10**6, 0)
    if number is None:
        raise InputError("unit is missing: type its number")
    network, layer = network_of(form.text("network", NETWORKS[1])), form.text("layer")
    if not layer:
        raise InputError("layer is missing: choose one of the list")
    return number, network, layer


def sample(given: Any, place: Place) -> Call:
    """The call of `ppgn.sample` that a form asks for. Raises `InputError`."""
    form = Form(given)
    asked = _asked(form) | {"seeds": form.seeds("0-3"), "model": _model(form, place)}
    if form.text("sampler"):
        asked["sampler"] = form.one("sampler", paths.options("sampler"))
    if form.text("init"):
        asked |= {"init": place.upload(form.text("init")), "strength": form.share("strength") or 0.6}
    asked |= {"steps": form.number("steps", STEPS), "animate": "chain.webp" if form.text("animate") else None}
    form.taken |= {"strength", *("targets", "condition", "caption", "expression", "network", "layer", "unit")}
    form.end()
    return Call("sample", _said(asked), "target", dict(given))


def _model(form: Form, place: Place) -> str:
    return model_of(form.text("model", DEFAULTS["model"]), place)


def _said(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of a form is to be said: neither what was left open nor what would be taken anyway."""
    return {key: value for key, value in asked.items() if value is not None and value != DEFAULTS.get(key)}


def _photo(form: Form, place: Place) -> dict[str, Any]:
    if not form.text("image"):
        raise InputError("image is missing: choose a photo")
    return {"image": place.upload(form.text("image"))}


def inpaint(given: Any, place: Place) -> Call:
    """The call of `ppgn.inpaint`: a photo, a mask or the hole "center", a target or none. Raises `InputError`."""
    form = Form(given)
    asked = _photo(form, place)
    mask = form.text("mask")
    asked["hole"] = "center" if mask in ("", "center") else place.upload(mask)
    return _of_photo("inpaint", form, asked, place)


def edit(given: Any, place: Place) -> Call:
    """The call of `ppgn.edit`: a photo, a target, and perhaps a mask of what may change. Raises `InputError`."""
    form = Form(given)
    asked = _photo(form, place)
    if form.text("mask"):
        asked["mask"] = place.upload(form.text("mask"))
    return _of_photo("edit", form, asked, place)


def _of_photo(verb: str, form: Form, asked: dict[str, Any], place: Place) -> Call:
    target, condition = form.text("target"), form.one("condition", words.VOCABULARIES)
    if target:
        asked |= {"target": int(target) if target.isdecimal() else target, "condition": condition}
    elif verb == "edit":
        raise InputError("target is missing: type a class, for example junco")
    asked |= {"seeds": form.seeds("0-3" if verb == "inpaint" else "0-1"), "model": _model(form, place)}
    asked |= {"steps": form.number("steps", STEPS)}
    form.end()
    return Call(verb, _said(asked), "image", dict(form.given))


def unit(given: Any, place: Place) -> Call:
    """The call of `ppgn.card`, or of `ppgn.maximize` where there are no photographs. Raises `InputError`."""
    form = Form(given)
    number, network, layer = _unit(form)
    asked = {"unit": number, "layer": layer, "network": network, "seeds": form.seeds("0-3")}
    asked |= {"evaluations": form.number("evaluations", 4096, 2) or 64, "model": _model(form, place)}
    photographs = {"data": place.data, "k": form.number("k", 8, 0), "count": form.number("count", 10**6)}
    form.end()
    if place.data is None:
        return Call("maximize", _said({**asked, "method": METHODS}), "unit", dict(given))
    return Call("card", _said(asked | photographs), "layer", dict(given))


CALLS: Mapping[str, Callable[[Any, Place], Call]] = {"sample": sample, "inpaint": inpaint, "edit": edit, "unit": unit}
