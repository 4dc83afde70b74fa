"""A folder is one run's at a time, whatever becomes of the run; results are replaced if one says so."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppgn import folders
from ppgn.errors import InputError
from ppgn.folders import Results, alone, check_free, chosen, digest, locked, results


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "TRIES", 2)


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with locked(tmp_path / "o"):
        with pytest.raises(InputError, match="another run"), locked(tmp_path / "o"):
            pass
        with pytest.raises(InputError, match="another run"), locked(tmp_path / "o", "1of2"):
            pass
    assert list(tmp_path.iterdir()) == []  # nothing was put there
    with locked(tmp_path / "o"):
        (tmp_path / "o" / "table.json").touch()
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["table.json"]


def test_jobs_share_a_folder_but_not_with_their_like(tmp_path: Path) -> None:
    with locked(tmp_path, "1of2"), locked(tmp_path, "2of2"):
        for job in ("1of2", ""):
            with pytest.raises(InputError, match="another run"), locked(tmp_path, job):
                pass
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(folders.fcntl is None, reason="this system has no locks of files")
def test_a_lock_ends_with_the_process_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(folders.__file__).parents[1])!r})
from pathlib import Path
from ppgn.folders import locked
with locked(Path({str(tmp_path)!r})):
    print("here", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"here\n"
    with pytest.raises(InputError, match="another run"), locked(tmp_path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with locked(tmp_path):
        pass


def test_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"), locked(tmp_path / "file"):
        pass


def test_results_are_replaced_if_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    check_free([], overwrite=False)
    check_free([path], overwrite=True)
    with pytest.raises(InputError, match=r"table\.json.*resume=true.*overwrite=true"):
        check_free([path], overwrite=False, more="resume=true to go on with it")


def test_results_are_saved_in_their_folder_or_in_another_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "table.json").touch()
    assert chosen(own, None, False, "*.json") == chosen(own, str(own), False, "*.json") == own
    with pytest.raises(InputError, match=r"other.*table\.json.*overwrite=true"):
        chosen(own, str(other), False, "*.json")
    assert chosen(None, other, True, "*.json") == chosen(None, other, False, "*.png") == other
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen(own, "~/new", False, "*") == tmp_path / "new"
    with pytest.raises(InputError, match=r"no folder.*save\(FOLDER\)"):
        chosen(None, None, True)


@dataclass(frozen=True, repr=False)
class Counted(Results):
    """How many there are."""

    files = ("report.json", "config.yaml", "count.txt")

    count: int

    def report(self) -> dict[str, int]:
        return {"count": self.count}

    def write(self, place: Path) -> None:
        (place / "count.txt").write_text(str(self.count))


def test_results_that_a_function_gives_are_saved_in_its_folder_and_where_one_says(tmp_path: Path) -> None:
    @results(*Counted.files)
    def count(number: int, *, out: Path | None = None, overwrite: bool = False) -> Counted:
        return Counted(out, {"number": number}, number)

    count(3, out=tmp_path / "own")
    own = {path.name: path.read_text() for path in (tmp_path / "own").iterdir()}
    assert own == {"config.yaml": "number: 3\n", "report.json": '{\n "count": 3\n}', "count.txt": "3"}
    found = count(4)
    found.save(tmp_path / "other")
    assert (tmp_path / "other" / "count.txt").read_text() == "4"
    with pytest.raises(InputError, match=r"own.*config\.yaml.*overwrite=true"):
        found.save(tmp_path / "own")
    found.save(tmp_path / "own", overwrite=True)
    assert (tmp_path / "own" / "count.txt").read_text() == "4"


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(InputError, match="nothing"):
        digest(tmp_path / "nothing")


def test_a_function_works_alone_in_its_folder_and_replaces_if_one_says_so(tmp_path: Path) -> None:
    @results("table*.json")
    def measure(name: str, *, out: Path | None = None, overwrite: bool = False) -> str:
        if out is not None:
            with pytest.raises(InputError, match="another run"), locked(out):
                pass
            (out / f"{name}.part").write_text("new")
            (out / f"{name}.part").replace(out / f"{name}.json")
        return name

    assert measure("table") == "table"
    (tmp_path / "own.json").touch()
    assert measure("table", out=tmp_path) == "table"
    for name in ("table", "table2"):
        with pytest.raises(InputError, match=r"table\.json.*overwrite=true"):
            measure(name, out=tmp_path)
    measure("table2", out=tmp_path, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"own.json", "table2.json"}  # nothing mixed, nothing else gone
    (tmp_path / "table2.json").write_text("old")
    measure("table2", out=tmp_path, overwrite=True)
    assert (tmp_path / "table2.json").read_text() == "new"


def test_no_run_begins_where_no_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @results()
    def measure(*, out: Path) -> None:
        raise AssertionError

    with alone(tmp_path / "o"), pytest.raises(InputError, match="another run"):
        measure(out=tmp_path / "o")
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=folders.LEAST - 1))
    with pytest.raises(InputError, match=r"10\.0 MB needed"):
        measure(out=tmp_path / "o")
    with alone(None):
        assert list(tmp_path.iterdir()) == []


def test_a_function_that_fails_leaves_the_results_that_were_there(tmp_path: Path) -> None:
    @results("table.json")
    def fail(*, out: Path, overwrite: bool) -> None:
        raise InputError("no such model")

    (tmp_path / "table.json").touch()
    with pytest.raises(InputError, match="model"):
        fail(out=tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
