"""A file is put in place whole or not at all, and a folder that cannot be written is refused beforehand."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppgn import paths
from ppgn.errors import InputError


def test_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    paths.write(tmp_path / "a" / "b.txt", "one")
    paths.write(tmp_path / "a" / "b.txt", b"two")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_text() == "two"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.json"
    paths.write(target, "old")

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match=r"cannot write '.*report.json': No space left on device"):
        paths.write(target, "new and longer")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_settings_and_reports_keep_their_order_and_letters() -> None:
    assert paths.as_yaml({"b": "größe", "a": [1, None]}) == "b: größe\na:\n- 1\n- null\n"
    assert paths.as_json({"b": "größe", "a": [1]}) == '{\n "b": "größe",\n "a": [\n  1\n ]\n}'


def test_check_writable_refuses_a_file_in_the_way_and_a_full_disk(tmp_path: Path) -> None:
    paths.check_writable(tmp_path / "new" / "deeper", 1)
    assert os.listdir(tmp_path) == []
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"'.*taken' is a file; choose another place"):
        paths.check_writable(tmp_path / "taken" / "deeper", 1)
    with pytest.raises(InputError, match=r"MB needed, .* MB free"):
        paths.check_writable(tmp_path, 2**60)


def test_check_writable_asks_for_the_free_space_as_any_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=10_000_000))
    monkeypatch.delattr(os, "statvfs", raising=False)  # not there on Windows
    paths.check_writable(tmp_path, 10_000_000)
    with pytest.raises(InputError, match=r"20\.0 MB needed, 10\.0 MB free"):
        paths.check_writable(tmp_path, 20_000_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_check_writable_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="read-only for you"):
        paths.check_writable(tmp_path / "new", 1)


def test_conf_and_checkpoints_are_found() -> None:
    assert (paths.conf() / "sample.yaml").is_file()
    assert paths.checkpoints().is_dir()
    assert "imagenet" in paths.options("condition")
    assert paths.options("nothing") == []
