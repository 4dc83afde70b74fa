"""Repositories in the cache of huggingface_hub, without a network, and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from ppgn.errors import InputError
from ppgn.interop.repository import repository, snapshot, telling

COMMIT = "1234567890123456789012345678901234567890"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds a commit of USER/NAME, on a machine that is offline."""
    place = tmp_path / "models--USER--NAME"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    folder = place / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.mark.parametrize("name", ["hf:USER/NAME", "USER/NAME", f"hf:USER/NAME@{COMMIT}"])
def test_what_was_downloaded_is_found_without_a_network(name: str, cached: Path) -> None:
    found, commit = snapshot(name, ["config.json"])
    assert (found.resolve(), commit) == (cached.resolve(), COMMIT)
    assert repository(name) == "USER/NAME"


@pytest.mark.parametrize("name", ["hf:USER/OTHER", "hf:USER/NAME@v2"])
def test_what_was_not_takes_a_network(name: str, cached: Path) -> None:
    with pytest.raises(InputError, match="no network"):
        snapshot(name, ["config.json"])


def test_only_what_is_wanted_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(name: str, **words: Any) -> str:
        asked.append((name, words))
        return f"/cache/{COMMIT}"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert snapshot("hf:USER/NAME@v1", ["a.json"])[1] == COMMIT
    assert snapshot("hf:USER/NAME@v1", ["a.json"], "v2")[1] == COMMIT
    expected = [{"revision": revision, "allow_patterns": ["a.json"]} for revision in ("v1", "v2")]
    assert asked == [("USER/NAME", words) for words in expected]


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "USER" / "NAME").mkdir(parents=True)
    assert snapshot("USER/NAME", ["*"]) == (Path("USER/NAME"), None)


@pytest.mark.parametrize("name", ["nothing", "./nothing", "hf:nothing", "/no/where", "hf:a/b/c"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InputError, match="give a folder, or hf:USER/NAME"):
        snapshot(name, ["*"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.GatedRepoError, "terms"),
        (errors.RepositoryNotFoundError, "there is no 'USER/NAME'"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.HFValidationError, "no name"),
        (errors.LocalEntryNotFoundError, "no network"),
        (errors.OfflineModeIsEnabled, "no network"),
    ],
)
def test_every_refusal_says_what_to_do(kind: type[Exception], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught, telling("USER/NAME"):
        raise kind.__new__(kind)
    assert "\n" not in str(caught.value)
