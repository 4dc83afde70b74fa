"""Pipelines of diffusers with random weights, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def unet(channels: int = 4, kind: str = "UNet2DModel", **more: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"block_out_channels": (32, 32), "layers_per_block": 1, "norm_num_groups": 8}
    places = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "sample_size": 8}
    if kind == "UNet2DConditionModel":
        places["down_block_types"] = ("CrossAttnDownBlock2D", "DownBlock2D")
        places["up_block_types"] = ("UpBlock2D", "CrossAttnUpBlock2D")
    return getattr(diffusers, kind)(in_channels=channels, out_channels=channels, **sizes, **places, **more)


def dit(classes: int = 10) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "sample_size": 8, "patch_size": 2}
    net = diffusers.DiTTransformer2DModel(in_channels=4, out_channels=8, num_embeds_ada_norm=classes, **sizes)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def tiny(**more: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"encoder_block_out_channels": (32, 32), "decoder_block_out_channels": (32, 32)}
    return diffusers.AutoencoderTiny(num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), **sizes, **more)


def kl(kind: str = "AutoencoderKL", **more: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes = {"block_out_channels": (16, 16), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4}
    return getattr(diffusers, kind)(**blocks, **sizes, sample_size=16, **more)


def reader(folder: Path, width: int) -> dict[str, list[str]]:
    """Write a tokenizer of letters and a text encoder with codes of `width` -> what model_index.json says of them."""
    transformers = pytest.importorskip("transformers")
    letters = [chr(97 + k) + end for end in ("", "</w>") for k in range(26)]
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    tokens = [*letters, *ends.values()]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(tokens)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    more = {"unk_token": ends["eos_token"], "pad_token": ends["eos_token"], "model_max_length": 8}
    told = {"tokenizer_class": "CLIPTokenizer", **ends, **more}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(told))
    sizes = {"hidden_size": width, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=54, max_position_embeddings=8, bos_token_id=52, eos_token_id=53, **sizes
    )
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    return {
        name: ["transformers", f"CLIP{kind}"]
        for name, kind in (("tokenizer", "Tokenizer"), ("text_encoder", "TextModel"))
    }


def pipeline(folder: Path, network: Any, vae: Any = None, scheduler: Any = None, **more: Any) -> Path:
    """Write a pipeline as diffusers does: a folder a part, and model_index.json, of which `more` are entries."""
    diffusers = pytest.importorskip("diffusers")
    name = "transformer" if "Transformer" in type(network).__name__ else "unet"
    parts = {name: network, "scheduler": scheduler or diffusers.DDIMScheduler()} | ({"vae": vae} if vae else {})
    index: dict[str, Any] = {"_class_name": "DiffusionPipeline"}
    for part, made in parts.items():
        made.save_pretrained(folder / part)
        index[part] = ["diffusers", type(made).__name__]
    (folder / "model_index.json").write_text(json.dumps(index | more))
    return folder
