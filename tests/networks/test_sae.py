"""Encoders of sparse autoencoders as SAELens, dictionary_learning, sparsify and Gemma Scope name their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ppgn.errors import InputError
from ppgn.networks import sae

D, F = 4, 6
RANDOM = torch.Generator().manual_seed(0)
W, B, C, T = (torch.rand(shape, generator=RANDOM) - 0.4 for shape in ((D, F), (F,), (D,), (F,)))
X = torch.rand(3, D, generator=RANDOM)


def folder(place: Path, config: dict[str, Any], **tensors: torch.Tensor) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, place / "sae_weights.safetensors")
    (place / "cfg.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize("subtract", [True, False])
def test_saelens_relu(tmp_path: Path, subtract: bool) -> None:
    place = folder(tmp_path, {"architecture": "standard", "apply_b_dec_to_input": subtract}, W_enc=W, b_enc=B, b_dec=C)
    encoder = sae.load(place)
    before = (X - C if subtract else X) @ W + B
    torch.testing.assert_close(encoder(X), before)
    torch.testing.assert_close(encoder.active(encoder(X)), before.relu())


def test_topk_keeps_the_largest(tmp_path: Path) -> None:
    save_file({"encoder.weight": W.T.contiguous(), "encoder.bias": B, "b_dec": C}, tmp_path / "sae.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"k": 2, "activation": "topk"}))
    encoder = sae.load(tmp_path)
    before = (X - C) @ W + B
    active = encoder.active(encoder(X))
    assert ((active != 0).sum(1) <= 2).all()
    torch.testing.assert_close(active.amax(1), before.amax(1).relu())


def test_jumprelu_of_gemma_scope(tmp_path: Path) -> None:
    arrays = {"W_enc": W, "b_enc": B, "b_dec": C, "threshold": T.abs()}
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in arrays.items()})
    encoder = sae.load(tmp_path / "params.npz")
    before = X @ W + B  # nothing subtracted
    torch.testing.assert_close(encoder.active(encoder(X)), torch.where(before > T.abs(), before, 0.0))


def test_a_plain_state_dict(tmp_path: Path) -> None:
    torch.save({"encoder.weight": W.T, "encoder.bias": B, "decoder.weight": W, "bias": C}, tmp_path / "ae.pt")
    torch.testing.assert_close(sae.load(tmp_path)(X), (X - C) @ W + B)


@pytest.mark.parametrize(
    ("config", "tensors", "settings", "message"),
    [
        ({}, {"weight": W}, {}, "expected W_enc"),
        ({"architecture": "gated"}, {"W_enc": W}, {}, "gated"),
        ({"normalize_activations": "layer_norm"}, {"W_enc": W}, {}, "normalises"),
        ({}, {"W_enc": W, "b_enc": C}, {}, "its bias is"),
        ({}, {"W_enc": W}, {"activation": "topk"}, "no k"),
        ({}, {"W_enc": W}, {"activation": "jumprelu"}, "no thresholds"),
        ({}, {"W_enc": W}, {"activation": "gelu"}, "unknown activation"),
    ],
)
def test_refuses(tmp_path: Path, config: Any, tensors: Any, settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sae.load(folder(tmp_path, config, **tensors), **settings)


def test_refuses_what_is_not_there_and_layers_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        sae.load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="in this folder"):
        sae.load(tmp_path)
    with pytest.raises(InputError, match="4 inputs on a layer of 5 units"):
        sae.SparseEncoder(W)(torch.rand(2, 5))
