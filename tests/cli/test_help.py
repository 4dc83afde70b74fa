"""Help says of every key what it is, with its default, and is made from what is used."""

from __future__ import annotations

import re

import pytest
import yaml

from ppgn import paths
from ppgn.cli import fields, help, main

COMMANDS = [[verb] for verb in help.VERBS] + [["train", program] for program in help.programs()]
COMMANDS += [
    ["evaluate", f"what={what}"] for what in fields.of_file(paths.conf() / "evaluate.yaml")["what"].help.split(", ")
]


def shown(*words: str) -> str:
    return help.command([*words, "--help"])


def keys(*words: str) -> list[str]:
    """The keys that a help lists."""
    return re.findall(r"^  ([a-z][\w.]*)=", shown(*words), re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_fits_a_wide_terminal_and_says_how_to_call(words: list[str]) -> None:
    text = shown(*words)
    assert text.startswith("usage: ppgn ")
    assert "{keys}" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_overview_has_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} +\w", text, re.MULTILINE) for verb in help.VERBS)
    assert {path.stem for path in paths.conf().glob("*.yaml")} == {
        *help.VERBS,
        *(f"train_{p}" for p in help.programs()),
    }


@pytest.mark.parametrize("verb", ["sample", "inpaint", "facets", "maximize", "units"])
def test_a_command_has_every_key_that_it_takes(verb: str) -> None:
    _, known, own = fields.command(verb, {})
    assert known or verb == "units"
    assert {*known, *own} <= {*keys(verb)}
    assert re.search(r"^  seeds=0-\d ", shown(verb), re.MULTILINE) or verb == "units"


def test_parts_have_their_options_and_those_that_are_chosen_their_keys() -> None:
    text = shown("sample")
    assert all(option in text for group in ("condition", "sampler") for option in paths.options(group))
    assert "noiseless_joint" in text
    assert "natural64_gpu" not in text
    assert "sampler.epsilon2=1.0 " in text
    assert "condition.network.name=efficientnet_lite1" in text
    chosen = keys("sample", "sampler=mala", "condition=unit")
    assert {"sampler.step_size", "condition.layer"} <= {*chosen}
    assert not {"sampler.epsilon2", "condition.target", "condition.gradient"} & {*chosen}


def test_evaluate_says_what_there_is_before_one_is_chosen() -> None:
    text = shown("evaluate")
    for what in ("reconstruction", "samples", "units"):
        assert re.search(rf"^  what={what} +\w", text, re.MULTILINE)
    assert {"data", "what", "seeds"} <= {*keys("evaluate", "what=samples")}


@pytest.mark.parametrize("program", help.programs())
def test_a_training_program_has_every_key_of_its_files(program: str) -> None:
    file = fields.of_file(paths.conf() / f"train_{program}.yaml")
    groups = {key.partition(".")[2]: field.default for key, field in file.items() if key.startswith("defaults.")}
    leaves = {key for key, field in file.items() if not isinstance(field.default, dict)}
    for group, option in groups.items():
        if option is not None:
            found = fields.of_file(paths.conf() / group / f"{option}.yaml")
            leaves |= {f"{group}.{key}" for key, field in found.items() if not isinstance(field.default, dict)}
    leaves = {key.removeprefix("defaults.") for key in leaves if "._" not in key}
    assert leaves - {"model.generator", "model.encoder"} <= {*keys("train", program)}


def test_an_experiment_shows_in_the_defaults() -> None:
    assert "training.image_noise=0.0 " in shown("train", "generator")
    text = shown("train", "generator", "experiment=natural64_joint")
    assert "training.image_noise=0.05 " in text
    assert "weights=natural64 " in text
    assert "generator.code_layer=fc6" in shown("train", "generator", "experiment=deepsim")


@pytest.mark.parametrize("name", sorted(str(path.relative_to(paths.conf())) for path in paths.conf().glob("*/*.yaml")))
def test_every_file_says_what_it_is_and_what_each_key_is(name: str) -> None:
    path = paths.conf() / name
    assert fields.head(path) or path.parent.name == "experiment"
    if path.parent.name != "experiment":
        said = fields.of_file(path)
        every = fields.of_node(yaml.safe_load(path.read_text()), said)
        leaves = [
            key
            for key, field in said.items()
            if not isinstance(field.default, dict) and "_" not in key.split(".")[-1][:1]
        ]
        assert [key for key in leaves if not every[key].help] == []
