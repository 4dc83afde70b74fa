"""Models by name: hf:USER/NAME of the Hugging Face hub, or a folder that looks like such a repository.

Nothing is downloaded but what is named; what was downloaded once is found again without a network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import ppgn.model
from ppgn import paths
from ppgn.errors import InputError
from ppgn.interop import diffusers, taef2
from ppgn.interop.repository import PREFIX, repository, snapshot, telling
from ppgn.model import PPGN

FILE = "ppgn.safetensors"
CARD = "README.md"


def load(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    trust: str | Sequence[str] = (),
) -> PPGN:
    """The model in a folder or in the repository "hf:USER/NAME" or "hf:USER/NAME@REVISION", frozen.

    It is one that `save` wrote, a pipeline or an autoencoder of diffusers, or the files of TAEF2. `revision` is a
    branch, a tag or a commit; the model's `name` holds the commit. `trust` is that of `ppgn.load`.
    Raises `InputError` where there is none, and for what cannot be downloaded.
    """
    folder, commit = snapshot(name, [FILE, "model_index.json", "config.json"], revision)
    if (folder / FILE).is_file():
        model = ppgn.model.load(folder / FILE, device, trust)
    elif (folder / "model_index.json").is_file() or (folder / "config.json").is_file():
        model = diffusers.load(name, revision=commit).to(device)
    elif (folder / taef2.FILES[0]).is_file():
        model = taef2.load(folder).to(device)
    else:
        kinds = f"{FILE}, model_index.json, config.json nor {taef2.FILES[0]}"
        raise InputError(f"model '{name}': no model is there, neither {kinds}; give another folder or hf:USER/NAME")
    model.name = str(name) if commit is None else f"{PREFIX}{repository(name)}@{commit}"
    return model


def save(model: PPGN, folder: str | Path, *, card: Mapping[str, Any] | None = None, name: str | None = None) -> Path:
    """Write a model into a folder as `load` takes it: one safetensors file, and a README.md for people -> the folder.

    `card` is laid over the model's own; "license" and "description" in it are shown. name: by which the README.md says
        that the model is to be had, by default that of the folder.
    """
    place, told = Path(folder).expanduser(), {**model.card, **(card or {})}
    model.save(place / FILE, card=card)
    about = {"library_name": "ppgn", "tags": ["ppgn"], "license": told.get("license") or told.get("licence") or "other"}
    import yaml

    title, text = told.get("name") or place.name, told.get("description") or "A Plug & Play Generative Network."
    use = f"```sh\nppgn sample model={name or place} target=volcano\n```"
    parts = f"Priors: {', '.join(model.priors)}. Codes: {tuple(model.generator.code_shape)}."  # type: ignore[arg-type]
    paths.write(place / CARD, f"---\n{yaml.safe_dump(about)}---\n\n# {title}\n\n{text}\n\n{parts}\n\n{use}\n")
    return place


def push(model: PPGN, name: str, *, private: bool = False, card: Mapping[str, Any] | None = None) -> str:
    """Upload a model to the repository "USER/NAME", made if need be -> "hf:USER/NAME@COMMIT".

    The login is that of huggingface_hub. Raises `InputError` where that or the network is missing.
    """
    import huggingface_hub

    target = repository(name)
    with tempfile.TemporaryDirectory() as folder, telling(target):
        save(model, folder, card={"name": target, **model.card, **(card or {})}, name=f"{PREFIX}{target}")
        api = huggingface_hub.HfApi()
        api.create_repo(target, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=target, folder_path=folder, commit_message="A model of ppgn")
    return f"{PREFIX}{target}@{commit.oid}"
