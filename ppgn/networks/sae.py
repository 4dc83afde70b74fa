"""The encoder of a sparse autoencoder, as the common libraries save it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppgn import files
from ppgn.errors import InputError, check_known
from ppgn.networks import _weights
from ppgn.numerics.linear import linear

ACTIVATIONS = ("relu", "topk", "jumprelu")
FILES = ("sae_weights.safetensors", "sae.safetensors", "ae.pt", "params.npz")  # in a folder of SAELens and the like
NAMES = {  # of SAELens and Gemma Scope, dictionary_learning and sparsify, OpenAI
    "weight": ("W_enc", "encoder.weight"),
    "bias": ("b_enc", "encoder.bias", "latent_bias"),
    "centre": ("b_dec", "bias", "pre_bias", "decoder.bias"),
    "threshold": ("threshold", "log_threshold"),
}


class SparseEncoder(nn.Module):
    """Activations of a layer (B, D) -> what its latents compute before their nonlinearity, (B, F).

    (x − centre) W + bias. `active` applies the nonlinearity: ReLU, TopK (the `k` largest, then ReLU) or JumpReLU (those
    above their `threshold`). Sources: Bricken et al. 2023; Gao et al. 2024 (arXiv 2406.04093); Rajamanoharan et al.
    2024 (arXiv 2407.14435).
    """

    weight: Tensor
    bias: Tensor | None
    centre: Tensor | None
    threshold: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        centre: Tensor | None = None,
        threshold: Tensor | None = None,
        k: int | None = None,
    ) -> None:
        super().__init__()
        self.k = k
        for name, value in (("weight", weight), ("bias", bias), ("centre", centre), ("threshold", threshold)):
            self.register_buffer(name, None if value is None else value.detach().float())
        size, latents = weight.shape
        for name, wanted in (("bias", latents), ("centre", size), ("threshold", latents)):
            value = getattr(self, name)
            if value is not None and value.shape != (wanted,):
                raise InputError(f"sparse autoencoder: its {name} is {tuple(value.shape)}; expected ({wanted},)")

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, F), before the nonlinearity."""
        if x.shape[1] != len(self.weight):
            given = f"sparse autoencoder of {len(self.weight)} inputs on a layer of {x.shape[1]} units"
            raise InputError(f"{given}; give its layer")
        return linear(x if self.centre is None else x - self.centre, self.weight.T, self.bias)

    def active(self, latents: Tensor) -> Tensor:
        """What `forward` gave, (B, F) -> activations of the latents, (B, F)."""
        if self.threshold is not None:
            return latents * (latents > self.threshold)
        if self.k is not None:
            best = latents.topk(self.k, dim=1)
            latents = torch.zeros_like(latents).scatter(1, best.indices, best.values)
        return latents.relu()


def load(
    path: str | Path, activation: str | None = None, k: int | None = None, subtract: bool | None = None
) -> SparseEncoder:
    """Read a file of weights (.safetensors, .pt, .npz), or a folder of one and its cfg.json.

    `activation` is one of `ACTIVATIONS`, None: what the configuration says, else JumpReLU where there are thresholds,
    TopK where there is a `k`, ReLU. `subtract`: whether b_dec is subtracted from the input; None: what the
    configuration says, else unless there are thresholds (Gemma Scope does not).

    Nothing but tensors is unpickled. Raises `InputError` for what is none of these, and for gated autoencoders and
    those that normalise their input.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        found = next((file / name for name in FILES if (file / name).is_file()), None)
        if found is None:
            raise InputError(f"sparse autoencoder '{path}': no {', '.join(FILES)} in this folder; give the file")
        file = found
    config = _configuration(file.with_name("cfg.json"))
    tensors = _tensors(file)
    parts = {part: next((n for n in names if n in tensors), None) for part, names in NAMES.items()}
    if parts["weight"] is None:
        held = ", ".join(list(tensors)[:8])
        raise InputError(f"sparse autoencoder '{file}' holds {held}; expected W_enc (D, F), b_enc (F,), b_dec (D,)")
    if "r_mag" in tensors or config.get("architecture") == "gated":
        raise InputError(f"sparse autoencoder '{file}' is gated; expected one of {', '.join(ACTIVATIONS)}")
    normalize = str(config.get("normalize_activations") or "none")
    if normalize not in ("none", "expected_average_only_in"):
        raise InputError(f"sparse autoencoder '{file}' normalises its input ({normalize}); fold that into its weights")
    values = {part: None if name is None else tensors[name] for part, name in parts.items()}
    weight, threshold = values["weight"], values["threshold"]
    assert weight is not None
    weight = weight.T if parts["weight"] == "encoder.weight" else weight
    threshold = threshold.exp() if threshold is not None and parts["threshold"] == "log_threshold" else threshold
    arguments = config.get("activation_fn_kwargs") or {}
    k = next((int(v) for v in (k, config.get("k"), arguments.get("k"), tensors.get("k")) if v is not None), None)
    said = activation or config.get("activation_fn") or config.get("activation_fn_str") or config.get("architecture")
    guess = "jumprelu" if threshold is not None else "topk" if k else "relu"
    kind = {"standard": "relu", "batchtopk": "topk", "topk-relu": "topk"}.get(str(said), said) or guess
    kind = guess if kind == "relu" and activation is None else kind
    check_known("activation of a sparse autoencoder", kind, ACTIVATIONS)
    if (kind == "topk" and k is None) or (kind == "jumprelu" and threshold is None):
        lack = "k: give condition.sae.k=NUMBER" if kind == "topk" else "thresholds"
        raise InputError(f"sparse autoencoder '{file}' has no {lack}")
    subtract = config.get("apply_b_dec_to_input", kind != "jumprelu") if subtract is None else subtract
    return SparseEncoder(
        weight,
        values["bias"],
        values["centre"] if subtract else None,
        threshold if kind == "jumprelu" else None,
        k if kind == "topk" else None,
    )


def _tensors(file: Path) -> Mapping[str, Tensor]:
    if file.suffix != ".npz":
        return _weights.read(file)
    try:
        with np.load(file, allow_pickle=False) as held:
            return {name: torch.from_numpy(held[name]) for name in held.files}
    except files.DAMAGED as error:
        expected = "not an .npz file of arrays; give W_enc, b_enc, b_dec"
        raise InputError(f"sparse autoencoder '{file}': {expected}") from error


def _configuration(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return dict(found.get("cfg", found))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"'{file}': not the configuration of a sparse autoencoder; expected a JSON object") from error
