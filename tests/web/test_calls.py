"""What a page sends becomes a call that its command and its Python lines repeat, or is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppgn.cli import config
from ppgn.errors import InputError
from ppgn.web import calls
from ppgn.web.calls import Call, Form, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in (
        "uploads/photo-1.png",
        "uploads/mask 2.png",
        "sample-0001/images/seed-0003.png",
        "sample-0001/config.yaml",
    ):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "mine.safetensors").write_bytes(b"")
    return Place(tmp_path / "out", tmp_path, "photos")


def typed(call: Call) -> dict[str, Any]:
    """What the command line makes of the call's command."""
    program, verb, *words = shlex.split(call.command())
    assert (program, verb) == ("ppgn", call.verb)
    return config.read(verb, words)[1]


def run(call: Call) -> dict[str, Any]:
    """What the Python lines give to the function."""
    given: dict[str, Any] = {}

    def function(*first: Any, **named: Any) -> Any:
        given.update(dict(zip((call.first,), first, strict=False)) | named)
        return SimpleNamespace(save=lambda folder: None)

    text = call.python()
    assert text.startswith("import ppgn\n")
    exec(text.removeprefix("import ppgn\n"), {"ppgn": SimpleNamespace(**{call.verb: function})})
    return given


UNIT = {"what": "unit", "layer": "blocks.4.2", "unit": "17"}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("sample", {"what": "class", "targets": ["goldfish"], "seeds": "0-7", "model": "natural64"}),
    (
        "sample",
        {"what": "class", "targets": ["great white shark", "134", "jack-o'-lantern"], "steps": "20", "sampler": "ppgn"},
    ),
    ("sample", {"what": "class", "targets": ["any:dog"], "model": "mine.safetensors"}),
    ("sample", {"what": "class", "condition": "places", "targets": ["coast"], "animate": "yes"}),
    ("sample", {"what": "expression", "expression": "imagenet:castle & ~0.5*places:'mountain snowy'"}),
    ("sample", {"what": "caption", "caption": "two dogs, a \"cat\" and\\or it's [null] {a: 1} 'x\\'"}),
    ("sample", {"what": "caption", "caption": "null"}),
    ("sample", UNIT),
    ("sample", {**UNIT, "network": "timm/resnet18"}),
    (
        "sample",
        {"what": "class", "targets": ["1"], "init": "sample-0001/images/seed-0003.png", "strength": 0.3, "seeds": "3"},
    ),
    ("inpaint", {"image": "uploads/photo-1.png", "seeds": "0-3"}),
    ("inpaint", {"image": "uploads/photo-1.png", "mask": "uploads/mask 2.png", "target": "volcano", "steps": 3}),
    ("edit", {"image": "uploads/photo-1.png", "target": "junco", "condition": "imagenet"}),
    ("edit", {"image": "uploads/photo-1.png", "target": "coast", "condition": "places", "mask": "uploads/mask 2.png"}),
    ("unit", {"layer": "bn2", "unit": "17", "k": "0", "count": "200", "evaluations": "16"}),
]


@pytest.mark.parametrize(("verb", "form"), FORMS)
def test_command_and_python_say_what_is_called(verb: str, form: dict[str, Any], place: Place) -> None:
    call = calls.CALLS[verb](form, place)
    assert run(call) == dict(call.arguments)
    assert typed(call) == dict(call.arguments)
    assert call.form == form


def test_what_is_called_is_as_short_as_a_person_would_type_it(place: Place) -> None:
    call = calls.sample(FORMS[0][1], place)
    assert call.command() == "ppgn sample target=goldfish seeds=0-7"
    assert call.python() == 'import ppgn\n\ndone = ppgn.sample("goldfish", seeds="0-7")\ndone.save("FOLDER")'


def test_a_unit_without_photographs_is_maximized(place: Place) -> None:
    call = calls.unit({"layer": "bn2", "unit": 17}, Place(place.folder))
    assert (call.verb, call.arguments["method"]) == ("maximize", ["ppgn", "maco", "lucid"])
    assert typed(call) == run(call) == dict(call.arguments)


@pytest.mark.parametrize(
    ("verb", "form", "message"),
    [
        ("sample", {}, "type a class"),
        ("sample", [], "load the page again"),
        ("sample", {"targets": ["a"], "rm": 1}, "unknown key 'rm'"),
        ("sample", {"targets": "a"}, "at most eight"),
        ("sample", {"targets": ["a"] * 9}, "at most eight"),
        ("sample", {"targets": ["a\n"]}, "expected a line"),
        ("sample", {"targets": ["a" * 1001]}, "expected a line"),
        ("sample", {"targets": [{"_target_": "os.getcwd"}]}, "expected a line"),
        ("sample", {"targets": ["a"], "seeds": "0-64"}, "65 chains; the page walks at most 64"),
        ("sample", {"targets": ["a"], "seeds": "x"}, "cannot read seeds 'x'"),
        ("sample", {"targets": ["a"], "steps": "10001"}, "steps=10001 cannot be used"),
        ("sample", {"targets": ["a"], "steps": "-1"}, "steps=-1 cannot be used"),
        ("sample", {"targets": ["a"], "sampler": "os:getcwd"}, "unknown sampler"),
        ("sample", {"targets": ["a"], "condition": "torchscript"}, "unknown condition 'torchscript'"),
        ("sample", {"targets": ["a"], "model": "/etc/passwd"}, "unknown model"),
        ("sample", {"targets": ["a"], "model": "../mine.safetensors"}, "unknown model"),
        ("sample", {"targets": ["a"], "model": "hf:../x"}, "unknown model"),
        ("sample", {"targets": ["a"], "init": "../secret.png"}, "no picture '../secret.png'"),
        ("sample", {"targets": ["a"], "init": "/etc/passwd"}, "no picture"),
        ("sample", {"targets": ["a"], "init": "sample-0001/config.yaml"}, "no picture"),
        ("sample", {"targets": ["a"], "init": "uploads/photo-1.png", "strength": 2}, "strength=2"),
        ("sample", {"what": "expression", "expression": "os:getcwd"}, "code of your own is for the command line"),
        (
            "sample",
            {"what": "expression", "expression": "mine.py:Red & imagenet:a"},
            "command line|cannot read|unknown",
        ),
        ("sample", {"what": "expression", "expression": ""}, "type an expression"),
        ("sample", {"what": "caption"}, "type a sentence"),
        ("sample", {"what": "unit", "unit": "1"}, "layer is missing"),
        ("sample", {"what": "unit", "layer": "bn2"}, "unit is missing"),
        ("sample", {**UNIT, "network": "mine.py:net"}, "files are for the command line"),
        ("sample", {**UNIT, "network": "huggingface/../x"}, "files are for the command line"),
        ("sample", {**UNIT, "network": "timm/net.pt2"}, "files are for the command line"),
        ("unit", {**UNIT, "what": None, "network": "torchvision/net.ts"}, "files are for the command line"),
        ("inpaint", {}, "choose a photo"),
        ("inpaint", {"image": "uploads/photo-9.png"}, "choose it again"),
        ("inpaint", {"image": "uploads/photo-1.png", "mask": "/etc/passwd"}, "no picture"),
        ("edit", {"image": "uploads/photo-1.png"}, "target is missing"),
        ("edit", {}, "choose a photo"),
        ("unit", {"layer": "bn2"}, "unit is missing"),
        ("unit", {"unit": 3}, "layer is missing"),
        ("unit", {"layer": "bn2", "unit": 3, "evaluations": 1}, "evaluations=1 cannot be used"),
    ],
)
def test_refuses(verb: str, form: Any, message: str, place: Place) -> None:
    with pytest.raises(InputError, match=message) as told:
        calls.CALLS[verb](form, place)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a\x00", "x" * 5000, ".", "", "..", "a/../.."])
def test_no_name_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    assert calls.inside(tmp_path, name) is None


def test_a_link_does_not_either(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    assert calls.inside(tmp_path / "in", "out/x") is None
    assert calls.inside(tmp_path / "in", "a/b") == (tmp_path / "in" / "a" / "b").resolve()


def test_what_a_form_leaves_empty_is_its_default() -> None:
    form = Form({"a": " ", "b": None, "steps": ""})
    assert (form.text("a", "x"), form.text("b"), form.number("steps", 9), form.seeds("0-1")) == ("x", "", None, "0-1")
    form.end()
