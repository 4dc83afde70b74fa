"""Parts by name, and what a file may have built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ppgn import building
from ppgn.building import build
from ppgn.errors import InputError
from ppgn.generators.identity import Identity
from ppgn.priors.dae import DAE

MODULE = """
import outside_helper
from torch import nn
class Part(nn.Module):
    def __init__(self, size=1, inner=None):
        super().__init__()
        self.size, self.inner = size, inner
class Broken:
    def __init__(self):
        raise RuntimeError("no luck")
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with outside_parts.py in it, which needs a file beside it, and the same in sub/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("outside_parts", "outside_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "outside_parts.py").write_text(MODULE)
        (folder / "outside_helper.py").write_text("")
    return tmp_path


@pytest.mark.parametrize("name", ["outside_parts:Part", "outside_parts.Part", "outside_parts.py:Part",
                                  "./sub/outside_parts.py:Part"])  # fmt: skip
def test_a_class_is_found_by_module_or_file(outside: Path, name: str) -> None:
    assert building.locate(name)().size == 1
    assert building.locate(name) is building.locate(name)
    node = {"_target_": name, "size": 3, "inner": {"a": [{"_target_": name, "size": 4}, 5]}}
    made = build(node)
    assert (made.size, made.inner["a"][0].size, made.inner["a"][1]) == (3, 4, 5)


@pytest.mark.parametrize(
    ("name", "word"),
    [("outside_parts:Prat", "Prat"), ("nowhere:Part", "nowhere"), ("nowhere.py:Part", "nowhere.py"),
     ("outside_parts", "outside_parts"), ("ppgn.priors.dae.DEA", "DEA"), ("", "''"), (":", "':'")],
)  # fmt: skip
def test_what_is_not_there_is_one_line(outside: Path, name: str, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        building.locate(name)
    assert "\n" not in str(caught.value)


def test_a_part_is_a_name_a_class_a_mapping_or_itself(outside: Path) -> None:
    made = building.part("prior", "dae", code_shape=[6])
    assert isinstance(made, DAE)
    assert building.part("prior", made) is made
    assert building.part("prior", building.node("prior", "dae"), code_shape=[6]).code_shape == (6,)
    assert building.part("prior", "outside_parts:Part", size=7).size == 7
    with pytest.raises(InputError, match="unknown prior 'dea'; nearest: dae"):
        building.part("prior", "dea")
    assert list(building.parameters("outside_parts:Part")) == ["size", "inner"]


def test_arguments_that_are_missing_or_wrong_are_one_line(outside: Path) -> None:
    for node, word in (
        ({"_target_": "outside_parts:Part", "size": "???"}, "size"),
        ({"_target_": "outside_parts:Part", "sice": 1}, "sice"),
        ({"_target_": "outside_parts:Broken"}, "no luck"),
        ({"_target_": "math:pi"}, "nothing that can be built"),
    ):
        with pytest.raises(InputError, match=word) as caught:
            build(node)
        assert "\n" not in str(caught.value)


def test_settings_are_laid_over_a_mapping() -> None:
    node = {"_target_": "a", "network": {"_target_": "b", "size": 1, "name": "n"}, "k": 2}
    found = building.merged(node, {"network.size": 8, "k": 3, "x": {"y": 1}})
    assert found == {"_target_": "a", "network": {"_target_": "b", "size": 8, "name": "n"}, "k": 3, "x": {"y": 1}}
    assert building.merged(node, {"network": {"_target_": "c"}})["network"] == {"_target_": "c"}
    assert building.merged(node, {"network": {"name": "m"}})["network"] == {"_target_": "b", "size": 1, "name": "m"}
    assert node["k"] == 2


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "ppgn.networks.os",
        "ppgn.networks.network.torch.load",
        "ppgn.model.load",
        "ppgn.encoders.features.Network",  # imported there, not made there
        "ppgn.networks._weights.read",
        "ppgn.networks.torchscript.load",
        "ppgn.networks.huggingface.load",
        "ppgn.networks.captioner.load",
        "ppgn.networks.labels.read",
        "ppgn.generators.:Identity",
        "outside_parts:Part",
        "outside_parts.py:Part",
        "outside_parts.Part",
        7,
        "",
    ],
)
def test_a_file_cannot_build_what_is_not_a_part(outside: Path, target: Any) -> None:
    with pytest.raises(InputError, match="refuses to build"):
        build({"_target_": target, "command": "true"}, trust=())
    assert "outside_parts" not in sys.modules


@pytest.mark.parametrize(
    ("target", "trust"),
    [("outside_parts:Part", ["outside_parts"]), ("outside_parts.Part", "outside_parts"),
     ("outside_parts.py:Part", ("outside_parts.py",)), ("outside_parts.py:Part", ["outside_parts"])],
)  # fmt: skip
def test_a_file_may_build_what_is_trusted(outside: Path, target: str, trust: Any) -> None:
    inner = {"_target_": "ppgn.generators.identity.Identity", "image_shape": [3, 4, 4]}  # of an earlier version
    made = build({"_target_": target, "inner": inner}, trust=trust)
    assert isinstance(made.inner, Identity)
    for other in ("sub/outside_parts.py:Part", "outside_parts2:Part", "os.system", f"{target}.mro"):
        with pytest.raises(InputError, match="refuses to build"):
            build({"_target_": other}, trust=trust)
    with pytest.raises(InputError, match="no constructor"):
        build({"_target_": target.replace("Part", "nn")}, trust=trust)


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("ppgn.networks.caffenet.load", {"weights": "mine.pth"}),
        ("ppgn.networks.imagenet.load", {"name": "efficientnet_lite0", "weights": "/etc/passwd"}),
        ("ppgn.networks.places.load", {"weights": "https://example.org/x.pth"}),
        ("ppgn.networks.places.load", {"weights": None, "labels": "names.txt"}),
        ("ppgn.networks.imagenet.load", {"name": "../x"}),
    ],
)
def test_a_file_names_no_other_file_and_no_address(target: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="names no other file"):
        build({"_target_": target, **arguments}, trust=())


def test_a_file_of_another_version_is_one_line() -> None:
    with pytest.raises(InputError, match="another version"):
        build({"_target_": "ppgn.generators.identity.Identity", "deep": 1}, trust=())
    assert torch.equal(build({"_target_": "ppgn.generators.identity.Identity", "signal_shape": [1]})(torch.ones(1, 1)),
                       torch.ones(1, 1))  # fmt: skip


@pytest.mark.parametrize("value", [{"_target_": "os.getcwd"}, "wide", [1]])
def test_what_has_to_be_a_number_is_one(value: Any) -> None:
    with pytest.raises(InputError, match=r"size.*expected a number"):
        build({"_target_": f"{__name__}:sized", "size": value})
    assert build({"_target_": f"{__name__}:sized", "size": 2.5, "other": None}) == (2.5, None)


def test_what_cannot_be_built_has_no_parameters() -> None:
    assert list(building.parameters(f"{__name__}:sized")) == ["size", "other"]
    with pytest.raises(InputError, match="nothing that can be built"):
        building.parameters("math:pi")


def sized(size: float, other: int | None = None) -> tuple[Any, Any]:
    return size, other
