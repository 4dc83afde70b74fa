"""Safetensors files: whole or not at all, of the right format, found by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ppgn import files, paths
from ppgn.errors import InputError


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    memory = torch.arange(6.0).view(2, 3)
    tensors = {"a": memory, "shared": memory[:1], "turned": memory.T, "none": torch.empty(0, 2)}
    tensors["one"] = memory[:1, 1]  # which is contiguous, though the next number would lie three further
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


def header(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """A change of the text that a safetensors file begins with."""

    def changed(data: bytes) -> bytes:
        end = 8 + int.from_bytes(data[:8], "little")
        text = change(data[8:end].decode()).encode()
        return len(text).to_bytes(8, "little") + text + data[end:]

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: data[:-8] + bytes(8),
        lambda data: data[:-4],
        header(lambda text: text.replace('"F32"', '"I32"')),
        header(lambda text: text.replace('"first"', '"third"')),
        header(lambda text: text.replace('"first"', '"x"').replace('"other"', '"first"').replace('"x"', '"other"')),
        header(lambda text: text.replace("[2,3]", "[3,2]")),
        header(lambda text: text.replace("steps", "stepz")),
    ],
    ids=["flipped", "zeros", "cut", "type", "renamed", "swapped", "turned", "metadata"],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.safetensors"
    files.save(path, {"first": torch.rand(2, 3), "other": torch.rand(2, 3)}, "mine-1", settings={"steps": 3})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"x.safetensors' is (damaged|not a safetensors file)"):
        files.load(path, "mine-1")


def test_a_file_without_a_digest_says_so_or_has_it_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(safetensors.torch.save({"x": torch.ones(2)}, {"format": "mine-1"}))
    assert torch.equal(files.load(path, "mine-1")[0]["x"], torch.ones(2))
    assert capsys.readouterr().err == f"ppgn: '{path}' tells no digest, so that damage would go unnoticed\n"
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  another\n{hashlib.sha256(path.read_bytes()).hexdigest()}  old.safetensors\n")
    files.load(path, "mine-1")
    assert capsys.readouterr().err == ""
    path.write_bytes(path.read_bytes()[:-1] + b"1")
    with pytest.raises(InputError, match=r"old.safetensors' is damaged"):
        files.load(path, "mine-1")


def test_metadata_that_no_reader_can_take_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    for text in ("[" * 100_000, "9" * 10_000, json.dumps("x")[:-1]):
        path.write_bytes(safetensors.torch.save({}, {"format": "mine-1", "config": text}))
        with pytest.raises(InputError, match=r"deep.safetensors' is damaged"):
            files.head(path, "mine-1")


def test_the_shipped_files_have_their_digests_beside_them() -> None:
    lines = [line.split() for line in (paths.checkpoints() / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in lines] == sorted(path.name for path in paths.checkpoints().glob("*.safetensors"))
    for digest, name in lines:
        assert hashlib.sha256((paths.checkpoints() / name).read_bytes()).hexdigest() == digest


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


def test_an_array_is_read_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(2, 3))
    assert files.array(path).tolist() == files.array(path, mmap_mode="r").tolist() == [[0, 1, 2], [3, 4, 5]]
    data = path.read_bytes()
    for wrong in (b"", data[:40], data.replace(b"(2, 3)", b"(2, 3 "), b"PK\3\4"):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"a\.npy"):
            files.array(path)
