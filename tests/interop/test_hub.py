"""Models by name: written and read as folders, through a hub that is another folder."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors

import ppgn
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.interop import hub
from ppgn.model import PPGN
from tests.interop.pipelines import dit, pipeline
from tests.interop.pipelines import tiny as tiny_autoencoder


class Hub:
    """A hub of commits in a folder, as far as models are sent and fetched."""

    def __init__(self, place: Path) -> None:
        self.place, self.fetched = place, list[str]()

    def create_repo(self, name: str, **words: Any) -> None:
        (self.place / name).mkdir(parents=True, exist_ok=words["exist_ok"])

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
        commit = f"{len(list((self.place / repo_id).iterdir())):040d}"
        shutil.copytree(folder_path, self.place / repo_id / commit)
        return SimpleNamespace(oid=commit)

    def download(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        commits = sorted(path.name for path in (self.place / name).glob("*"))
        if revision is not None and revision not in commits:
            raise errors.RevisionNotFoundError.__new__(errors.RevisionNotFoundError)
        source = self.place / name / (revision or commits[-1])
        target = self.place.parent / "cache" / name / source.name
        for path in source.rglob("*"):
            inside = path.relative_to(source)
            if path.is_file() and any(fnmatch(str(inside), pattern) for pattern in allow_patterns):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / inside)
                self.fetched.append(str(inside))
        return str(target)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "remote")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.download)
    return hub


def test_a_folder_holds_a_model_and_what_it_is(tiny: Path, tmp_path: Path) -> None:
    net = ppgn.load(tiny / "model.safetensors")
    net.save_pretrained(tmp_path / "mine", card={"license": "mit", "description": "Pictures of nothing."})
    again = PPGN.from_pretrained(tmp_path / "mine")
    h = torch.randn(2, 8)
    assert torch.equal(again.decode(h), net.decode(h))
    _, head, text = (tmp_path / "mine" / "README.md").read_text().split("---\n")
    assert yaml.safe_load(head) == {"library_name": "ppgn", "license": "mit", "tags": ["ppgn"]}
    assert "Pictures of nothing." in text


def test_a_model_goes_to_the_hub_and_comes_back_at_its_commit(tiny: Path, remote: Hub) -> None:
    net, h = ppgn.load(tiny / "model.safetensors"), torch.randn(2, 8)
    first = net.push_to_hub("USER/NAME")
    second = net.push_to_hub("hf:USER/NAME", private=True)
    assert (first, second) == (f"hf:USER/NAME@{0:040d}", f"hf:USER/NAME@{1:040d}")
    newest, pinned = ppgn.load("hf:USER/NAME"), ppgn.load(first)
    assert torch.equal(newest.decode(h), net.decode(h))
    assert (newest.name, pinned.name) == (second, first)
    assert PPGN.from_pretrained("USER/NAME", revision="0" * 40).name == first
    assert set(remote.fetched) == {"ppgn.safetensors"}
    with pytest.raises(InputError, match="no such revision"):
        ppgn.load("hf:USER/NAME@v9")


def test_a_run_records_the_commit(tiny: Path, remote: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = ppgn.load(tiny / "model.safetensors").push_to_hub("USER/NAME")
    words = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16", "device=cpu"]
    assert main(["sample", "model=hf:USER/NAME", "target=1", "steps=2", "seeds=0", "out=drawn", *words]) == 0
    assert yaml.safe_load((tmp_path / "drawn" / "config.yaml").read_text())["model"] == place


def test_a_checkpoint_from_the_hub_opens_nothing_else(remote: Hub, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    source = pipeline(tmp_path / "pipeline", dit(), tiny_autoencoder())
    ppgn.load(str(source)).push_to_hub("USER/NAME")
    with pytest.raises(InputError, match=r"trust=\[ppgn.interop.diffusers\]"):
        ppgn.load("hf:USER/NAME")
    assert "diffusion" in ppgn.load("hf:USER/NAME", trust="ppgn.interop.diffusers").priors


def test_a_pipeline_of_the_hub_is_named_by_its_commit(remote: Hub, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    source = pipeline(tmp_path / "pipeline", dit(), tiny_autoencoder())
    (source / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    remote.create_repo("USER/PIPELINE", exist_ok=True)
    remote.upload_folder(repo_id="USER/PIPELINE", folder_path=str(source), commit_message="")
    net = ppgn.load("hf:USER/PIPELINE")
    assert net.name == f"hf:USER/PIPELINE@{0:040d}"
    assert net.config is not None
    assert net.config["priors"]["diffusion"]["revision"] == f"{0:040d}"
    assert not any(name.endswith(".bin") for name in remote.fetched)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model is there"):
        hub.load(tmp_path)
