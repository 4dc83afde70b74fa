"""What commands take is read from sources: parameters, dataclasses, configuration files."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest

from ppgn import paths
from ppgn.cli import fields
from ppgn.errors import InputError

EXAMPLE = f"{Path(__file__).with_name('example.py')}:draw"


def test_parameters_with_defaults_comments_and_sections() -> None:
    found = fields.of(EXAMPLE)
    assert list(found)[:4] == ["target", "seeds", "condition", "hole"]
    assert found["seeds"] == fields.Field("seeds", "0-7", "the chains: 0-15, [1,4,9] or 3", "what to draw", "Any")
    assert found["condition"].help == "the network that is asked, by a name that is long enough for two lines"
    assert found["condition"].section == "what to draw"
    assert {found[name].section for name in ("sampler", "labels", "unsaid")} == {"how they walk"}
    assert found["systems"].default == ("default", "other")
    assert (found["unsaid"].default, found["unsaid"].help) == (3, "")
    assert fields.text(EXAMPLE) == "Draw something."


SOURCE = '''
from dataclasses import dataclass, field
from typing import ClassVar

TOP = 7


@dataclass
class Base:
    priors: ClassVar[tuple[str, ...]] = ("joint",)
    steps: int = 100  # under every target
    views: int = 0  # random ones


@dataclass
class Mine(Base):
    needed: float
    steps: int = TOP
    negative: float = -1e-3  # below nothing
    listed: list[int] = field(default_factory=list)
    inner: int = field(init=False)

    @classmethod
    def load(cls, path: str, size: int = 3) -> "Mine":
        """Read one."""


class Plain:
    def __init__(self, width: int, depth: int = 2, **more: int) -> None:
        """Make one."""
'''


def test_classes(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE)
    mine = fields.of(f"{tmp_path}/source.py:Mine")
    assert list(mine) == ["steps", "views", "needed", "negative", "listed"]
    assert (mine["steps"].default, mine["steps"].help) == (7, "under every target")  # what it does not say itself
    assert (mine["needed"].default, mine["negative"].default) == (fields.MISSING, -1e-3)
    assert list(fields.of(f"{tmp_path}/source.py:Mine.load")) == ["path", "size"]
    assert list(fields.of(f"{tmp_path}/source.py:Plain")) == ["width", "depth"]
    assert fields.of(f"{tmp_path}/source.py:Nothing") == {}
    assert fields.of("no.such.thing") == {}


@pytest.mark.parametrize("name", [":0", ":", ".:X", "ppgn.:PPGN", "ppgn..model:PPGN", ".model:PPGN", ".py:X"])
def test_an_empty_part_of_a_name_names_nothing(name: str) -> None:
    assert fields.of(name) == {}


def test_classes_of_libraries_are_found_where_they_are_imported_from() -> None:
    assert {"lr", "betas"} <= fields.of("torch.optim.Adam").keys()
    assert "enable_progress_bar" in fields.of("lightning.Trainer")


YAML = """\
# what it is
#
# more of it
_target_: a.b
# -- first --
one: 1 # said behind
# said above
two:
  inner: [1, 2]  # a list
three: "#no" # yes
# -- second --
four: null
"""


def test_configuration_files(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(YAML)
    assert fields.head(path) == "what it is\n\nmore of it"
    found = fields.of_file(path)
    assert found["one"] == fields.Field("one", 1, "said behind", "first")
    assert found["two"].help == "said above"
    assert (found["two.inner"].default, found["two.inner"].help) == ([1, 2], "a list")
    assert (found["four"].default, found["four"].section) == (None, "second")


def test_the_keys_of_a_part_are_those_of_its_file_and_of_the_class_behind_it() -> None:
    assert fields.of_part("sampler", "annealed")["epsilon2"].default == 1.5
    imagenet = fields.of_part("condition", "imagenet")
    assert imagenet["network.name"].default == "efficientnet_lite1"
    assert imagenet["network.size"].help
    assert fields.of_part("condition", "nothing") == {}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configurations with a verb of several functions."""
    (tmp_path / "source.py").write_text("def one(\n    n=1,  # so many\n    unsaid=2,\n): ...\n")
    monkeypatch.setattr(paths, "conf", lambda: tmp_path)
    (tmp_path / "verb.yaml").write_text(
        f"# a verb\n_target_: {tmp_path}/source.py:${{what}}\nwhat: ??? # one, two\nalso: ${{n}}\n"
    )
    return tmp_path


def test_a_key_may_choose_the_function_and_rename_a_parameter(conf: Path) -> None:
    function, known, own = fields.command("verb", {"what": "one"})
    assert function == f"{conf}/source.py:one"
    assert known["also"].name == "n"
    assert (list(known), list(own)) == (["also"], ["what"])
    with pytest.raises(InputError, match="unknown what 'three'"):
        fields.command("verb", {"what": "three"})
    with pytest.raises(InputError, match="what is missing"):
        fields.command("verb", {})


@pytest.mark.parametrize("folder", ["ppgn/samplers", "ppgn/cli", "tests/cli"])
def test_comments_are_those_that_python_finds(folder: str) -> None:
    for path in (Path(__file__).parents[2] / folder).glob("*.py"):
        found = fields._Module(path.stem, path)
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        comments = [token for token in tokens if token.type == tokenize.COMMENT]
        trailing = {t.start[0]: t.string[1:].strip() for t in comments if t.line[: t.start[1]].strip()}
        assert found.trailing == trailing, path
        assert found.own == {t.start[0]: t.string[1:].strip() for t in comments if t.start[0] not in trailing}, path


def test_the_standard_library_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = fields._Module.__init__

    def noted(self: fields._Module, name: str, path: Path) -> None:
        read.append(name)
        original(self, name, path)

    monkeypatch.setattr(fields._Module, "__init__", noted)
    fields._module.cache_clear()
    assert "steps" in fields.of("ppgn.samplers.anchored.Anchored")
    assert "ppgn.contracts" in read
    assert "typing" not in read
    assert fields.of("typing.Protocol") == {}
