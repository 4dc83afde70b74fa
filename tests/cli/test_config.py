"""Words become the arguments of a function, or the configuration of a training program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ppgn import paths
from ppgn.cli import config
from ppgn.errors import InputError
from tests.cli.test_fields import EXAMPLE

VERB = f"""\
# draw something
_target_: {EXAMPLE}
mask: ${{hole}}
experiment: null # several at once
devices: 1 # of them
"""


@pytest.fixture(autouse=True)
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conf/ with the verb "draw"."""
    shipped = paths.conf()
    for place in shipped.iterdir():
        (tmp_path / place.name).symlink_to(place)
    (tmp_path / "draw.yaml").write_text(VERB)
    monkeypatch.setattr(paths, "conf", lambda: tmp_path)


def arguments(*words: str) -> dict[str, Any]:
    return config.read("draw", words)[1]


def test_what_is_not_said_is_left_to_the_function() -> None:
    function, given, settings = config.read("draw", [])
    assert (function, given) == (EXAMPLE, {})
    assert settings == {"experiment": None, "devices": 1, "condition": "imagenet", "sampler": "annealed"}


def test_of_a_key_that_is_given_twice_the_last_one_counts() -> None:
    given = arguments("condition=unit", "layer=bn1", "layer=bn2", "steps=3", "steps=4")
    assert given == {"condition": {"expression": "unit", "layer": "bn2"}, "steps": 4}


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("target=goldfish", "goldfish"),
        ("target=3", 3),
        ("target=null", None),
        ("target=great white shark, white shark", "great white shark, white shark"),
        ("target=it's (almost) a dog: yes", "it's (almost) a dog: yes"),
        ("target=[volcano,lake side]", ["volcano", "lake side"]),
        ('target="jack-o\'-lantern"', "jack-o'-lantern"),
    ],
)
def test_values_need_no_second_quoting(word: str, target: object) -> None:
    assert arguments(word, "seeds=0-3,8") == {"target": target, "seeds": "0-3,8"}


def test_keys_of_the_verb_are_kept_apart_and_others_renamed() -> None:
    _, given, settings = config.read("draw", ["devices=2", "mask=alpha"])
    assert given == {"hole": "alpha"}
    assert settings["devices"] == 2


def test_parts_are_names_or_hold_what_was_changed() -> None:
    _, given, settings = config.read("draw", ["sampler.epsilon1=1e-3", "sampler=released", "condition=places"])
    assert given["sampler"] == {"_target_": "ppgn.samplers.published.Released", "epsilon1": 1e-3}
    assert given["condition"] == "places"
    assert (settings["sampler"], settings["condition"]) == ("released", "places")
    assert arguments("condition.network.size=64", "condition.network.name=timm/x") == {
        "condition": {"expression": "imagenet", "network": {"size": 64, "name": "timm/x"}}
    }
    assert arguments("context.weight=2", "context.std=1") == {"context": {"weight": 2, "std": 1}}


def test_settings_of_a_sampler_that_nobody_named_stand_alone() -> None:
    assert config.read("sample", ["target=1", "sampler.variety=3"])[1] == {"target": 1, "sampler": {"variety": 3}}
    _, given, settings = config.read("sample", ["target=1", "sampler=anchored", "sampler.variety=3"])
    assert given["sampler"] == {"_target_": "ppgn.samplers.anchored.Anchored", "variety": 3}
    assert settings["sampler"] == "anchored"
    assert config.read("sample", ["target=1", "sampler=null"])[1]["sampler"] is None
    with pytest.raises(InputError, match=r"unknown key 'sampler\.varity'; nearest: sampler\.variety"):
        config.read("sample", ["target=1", "sampler.varity=3"])


def test_expressions_have_the_settings_of_their_members_below_their_names() -> None:
    text = "imagenet:castle & 0.5*places:snowfield"
    assert arguments(f"condition={text}") == {"condition": text}
    given = arguments(f"condition={text}", "condition.places.network.size=64")
    assert given == {"condition": {"expression": text, "places": {"network.size": 64}}}
    with pytest.raises(InputError, match=r"unknown key 'condition\.unit\.layer'"):
        arguments(f"condition={text}", "condition.unit.layer=x")


def test_parts_from_outside_have_the_keys_that_their_source_names(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Red:\n    def __init__(self, target, weight=2.0): ...\n")
    name = f"{tmp_path}/mine.py:Red"
    assert arguments(f"condition={name}") == {"condition": name}
    assert arguments(f"sampler={name}", "sampler.weight=3") == {"sampler": {"_target_": name, "weight": 3}}
    with pytest.raises(InputError, match=r"unknown key .*weigth.*nearest: condition\.weight"):
        arguments(f"condition={name}", "condition.weigth=3")


def test_an_experiment_says_what_words_do_not() -> None:
    _, given, settings = config.read("draw", ["experiment=dgn_am", "sampler.epsilon1=0.5"])
    assert given["prior"] == "gaussian"
    assert given["sampler"] == {"_target_": "ppgn.samplers.langevin.Langevin", "epsilon1": 0.5, "epsilon3": 0.0}
    assert (settings["experiment"], settings["sampler"]) == ("dgn_am", "ppgn")
    assert arguments("experiment=dgn_am", "sampler=annealed") == {"prior": "gaussian", "sampler": "annealed"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["targt=1"], "unknown key 'targt'; nearest: target"),
        (["hole=alpha"], "unknown key 'hole'"),
        (["sampler.epsilon=1"], "unknown key 'sampler.epsilon'; nearest: sampler.epsilon"),
        (["experiment=natural64_cpu"], "cannot be used here; expected one of: .*dgn_am"),
        (["experiment=dgn"], "unknown experiment 'dgn'; nearest: dgn_am"),
        (["--seeds=3"], "expected key=value"),
        (["target"], "expected key=value"),
        (["condition=imagnet"], "unknown condition 'imagnet'; nearest: imagenet"),
        (["sampler=realesed"], "unknown sampler 'realesed'; nearest: released"),
        (["condition=torchscript:1 &"], "at its end"),
        (["condition.target=2"], "unknown key 'condition.target'"),
        (["condition.gradient=full"], "unknown key 'condition.gradient'"),
        (["condition=torchscript", "condition.size=[16,16]"], "condition.size is a whole number"),
        (["condition=torchscript", "condition.mean=[a,b,c]"], "condition.mean is a list of numbers"),
        (["labels=maybe"], "labels is true or false"),
        (["share=much"], "share is a number"),
        (["systems=all"], "systems is a list"),
        (["context.more=1", "share.x=1"], "unknown key 'share.x'"),
        (["steps.more=1"], "unknown key 'steps.more'"),
        (["steps=1.5"], "steps is a whole number"),
        (["steps={a:1}"], "steps is a whole number"),
        (["model=[a]"], "model is a text"),
        (["model={a:1}"], "model is a text"),
        (["context=3"], "context is one of the keys below it"),
        (["labels=null"], "labels is true or false"),
        (["target=a", "target.a=1"], "unknown key 'target.a'"),
        (["condition=(((((" + "(" * 1200], "nested too deeply"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.read("draw", words)


def test_a_key_that_nobody_knows_can_be_forced() -> None:
    assert arguments("+sampler.volume=11")["sampler"]["volume"] == 11


def test_training_programs_are_composed_of_groups() -> None:
    words = ["data.root=here", "experiment=natural64_joint", "training.noise=0.5", "encoder.network.weights=null"]
    settings, options = config.compose("train_generator", words)
    assert options["experiment"] == "natural64_joint"
    assert options["generator"] == "resnet64"
    assert (settings.training.noise, settings.training.image_noise) == (0.5, 0.05)
    assert settings.encoder.network.weights is None  # the file does not name it, the function behind does
    assert settings.training.discriminator.layers == settings.training.layers
    assert settings.out == "runs/natural64_joint"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "data.root is missing: add data.root=FOLDER"),
        (["data.root=x", "step=3"], "unknown key 'step'; nearest: steps"),
        (["data.root=x", "steps=many"], "steps is a whole number"),
        (["data.root=x", "+steps=many"], "steps is a whole number"),
        (["data.root=x", "trainer.min_epochs=[1]"], "trainer.min_epochs is a whole number"),
        (["data.root=x", "+model=much"], "model is one of the keys below it"),
        (["data.root=x", "training.optimizer._partial_=1"], "_partial_ is true or false"),
        (["data.root=x", "generator=resnet46"], "unknown generator 'resnet46'; nearest: resnet64"),
        (["data.root=x", "experiment=dgn_am"], "cannot be used here"),
        (["data.root=${nothing}"], "'nothing' not found"),
    ],
)
def test_a_training_program_refuses(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.compose("train_generator", words)


def test_keys_of_the_condition_may_be_typed_alone() -> None:
    network = {"name": "nets.py:net", "size": 64}
    assert arguments("condition=unit", "layer=blocks.4", "network=nets.py:net", "size=64") == {
        "condition": {"expression": "unit", "layer": "blocks.4", "network": network}
    }
    with pytest.raises(InputError, match="unknown key 'layer'"):
        arguments("layer=blocks.4")  # imagenet has none


@pytest.mark.parametrize("word", ["minutes=a", "images=1.5", "out=[a]", "codes={a:1}", "save_minutes=nan", "model=[1]"])
def test_a_training_refuses_what_its_file_does_not_mean(word: str) -> None:
    with pytest.raises(InputError, match=re.escape(word)):
        config.compose("train_prior", ["data.names=[a]", "data.root=a", word])


def test_a_training_takes_numbers_for_names() -> None:
    made, _ = config.compose("train_prior", ["data.names=[a]", "data.root=a", "out=3", "name=7", "minutes=2"])
    assert (made.out, made.codes, made.name, made.minutes) == ("3", "3/codes.safetensors", "7", 2)
