"""Safetensors files: whole or not at all, of the right format, found by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from ppgn import files, paths
from ppgn.errors import InputError


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    memory = torch.arange(6.0).view(2, 3)
    tensors = {"a": memory, "shared": memory[:1], "turned": memory.T, "none": torch.empty(0, 2)}
    files.save(tmp_path / "below" / "x.safetensors", tensors, "mine-1", settings={"k": [1, None]}, words=("é",))
    found, metadata = files.load(tmp_path / "below" / "x.safetensors", "other", "mine-1")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert metadata == {"format": "mine-1", "settings": {"k": [1, None]}, "words": ["é"]}
    assert files.head(tmp_path / "below" / "x.safetensors", "mine-1") == metadata
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["x.safetensors"]


def test_files_of_another_kind_are_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    files.save(path, {}, "mine-1", good=1)
    with pytest.raises(InputError, match=r"format 'mine-1', not 'a or b'; delete it"):
        files.head(path, "a", "b", advice="delete it")
    with pytest.raises(InputError, match=r"damaged.*'config'"):
        files.head(path, "mine-1")["config"]
    path.write_bytes(safetensors.torch.save({}, {"format": "mine-1", "bad": "{"}))
    with pytest.raises(InputError, match="damaged"):
        files.load(path, "mine-1")
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a safetensors file"):
            files.load(path, "mine-1")
    with pytest.raises(InputError, match="is not a safetensors file"):
        files.load(tmp_path / "none", "mine-1")


def test_shipped_files_are_found_by_name_and_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "checkpoints", lambda: tmp_path)
    for name, kind in (("one", "a"), ("two", "b"), ("three", "a")):
        files.save(tmp_path / f"{name}.safetensors", {}, kind)
    (tmp_path / "broken.safetensors").write_text("no")  # listed, so that reading it tells what is wrong
    assert list(files.shipped("a")) == ["broken", "one", "three"]
    assert files.find("model", "one", "a") == tmp_path / "one.safetensors"
    assert files.find("model", tmp_path / "two.safetensors", "a") == tmp_path / "two.safetensors"
    with pytest.raises(InputError, match="unknown model 'thre'; nearest: three"):
        files.find("model", "thre", "a")
    with pytest.raises(InputError, match="unknown model 'two'"):
        files.find("model", "two", "a")
    with pytest.raises(InputError, match="no checkpoint file 'none"):
        files.find("model", "none.safetensors", "a")


def test_versions_are_told() -> None:
    assert list(files.versions()) == ["ppgn", "torch", "python"]
    assert files.versions()["torch"] == torch.__version__
