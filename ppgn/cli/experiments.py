"""What a named experiment needs and this package does not carry: said with the command that trains it."""

from __future__ import annotations

import torch

import ppgn.model
from ppgn import paths
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.samplers.sampler import Sampler

# Models that experiments name: how each is trained, and where the training puts it.
_RECIPES = {
    "pixels": ("train/prior.py prior=image_dae model=null", "runs/prior/pixels.safetensors"),
    "natural64_joint": (
        "train/generator.py experiment=natural64_joint",
        "runs/natural64_joint/natural64_joint.safetensors",
    ),
}


class UntrainedError(InputError):
    """A model or a prior that has to be trained first."""

    def __init__(self, lack: str, script: str, made: str) -> None:
        super().__init__(f"{lack}; train it, python {script} data.root=DATA, and give model={made}")


def load(name: str, device: torch.device) -> PPGN:
    """`ppgn.model.load`. Raises `UntrainedError` for the model of an experiment that is not here."""
    if name in _RECIPES and not (paths.checkpoints() / f"{name}.safetensors").is_file():
        raise UntrainedError(f"model '{name}' does not come along", *_RECIPES[name])
    return ppgn.model.load(name, device)


def choose_prior(model: PPGN, name: str | None, sampler: Sampler, called: str) -> str:
    """`PPGN.choose_prior` of the model `called` so. Raises `UntrainedError` for a prior that it could be given."""
    if name in paths.options("prior") and name not in model.priors:
        pixels = model.encoder is None
        script = f"train/prior.py prior={name} model={'null' if pixels else called}"
        made = "pixels" if pixels else called.removesuffix(".safetensors").rpartition("/")[2]
        raise UntrainedError(f"model {called} has no prior '{name}'", script, f"runs/prior/{made}.safetensors")
    return model.choose_prior(name, sampler)
