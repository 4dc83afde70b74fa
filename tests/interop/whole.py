"""Whole pipelines of diffusers with random weights and readers of letters, small enough for a test."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.interop.pipelines import dit, kl, unet

KINDS = ("sd", "sdxl", "sd3", "sd3_without_t5", "flux", "flux_guided", "flux2", "pixart", "dit")
CLIP = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 54}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "sample_size": 8, "patch_size": 2}


def shaken(network: Any) -> Any:
    """With weights that say something, where diffusers starts some at 0."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def clip(*, projected: bool = False) -> tuple[Any, Any]:
    """A text encoder of codes of 8, and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    letters = [chr(97 + k) + end for end in ("", "</w>") for k in range(26)]
    vocabulary = {token: k for k, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8)
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = transformers.CLIPTextConfig(max_position_embeddings=8, projection_dim=6, **CLIP, **ends)
    torch.manual_seed(2)
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval(), tokenizer


def t5(width: int = 8) -> tuple[Any, Any]:
    """An encoder of T5 with codes of that width, and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(chr(97 + k) for k in range(26))]
    tokenizer = transformers.T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)
    sizes = {"d_model": width, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": len(pieces)}
    torch.manual_seed(3)
    return shaken(transformers.T5EncoderModel(transformers.T5Config(**sizes))), tokenizer


def qwen() -> tuple[Any, Any]:
    """A language model whose 10th, 19th and 28th hidden states have 8 numbers, and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    letters = [chr(97 + k) for k in range(26)]
    vocabulary = {token: k for k, token in enumerate([*letters, "Ġ", "<|endoftext|>"])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 27, "num_attention_heads": 2}
    torch.manual_seed(4)
    config = transformers.Qwen3Config(**sizes, num_key_value_heads=1, head_dim=4, vocab_size=len(vocabulary))
    return transformers.Qwen3ForCausalLM(config).eval(), tokenizer


def made(kind: str) -> Any:
    """A pipeline of that kind; codes (4, 8, 8), of FLUX.2 (16, 4, 4), pictures of 16 pixels."""
    diffusers = pytest.importorskip("diffusers")
    vae = kl(scaling_factor=0.3, shift_factor=0.1 if kind.startswith(("sd3", "flux")) else None).eval()
    euler = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    torch.manual_seed(5)
    if kind == "dit":
        return diffusers.DiTPipeline(dit(1000).eval(), vae, diffusers.DDIMScheduler(clip_sample=False))
    if kind == "sd":
        network, (text, tokenizer) = unet(kind="UNet2DConditionModel", cross_attention_dim=8), clip()
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return diffusers.StableDiffusionPipeline(vae, text, tokenizer, network, euler, **none)
    if kind == "sdxl":
        (one, first), (two, second) = clip(), clip(projected=True)
        embedding = {"addition_embed_type": "text_time", "addition_time_embed_dim": 2}
        sizes = {"cross_attention_dim": 16, "projection_class_embeddings_input_dim": 6 + 12}
        network = unet(kind="UNet2DConditionModel", **sizes, **embedding)
        return diffusers.StableDiffusionXLPipeline(vae, one, two, first, second, network, euler)
    if kind == "pixart":
        text, tokenizer = t5()
        sizes = {"in_channels": 4, "out_channels": 8, "cross_attention_dim": 32, "caption_channels": 8}
        network = diffusers.PixArtTransformer2DModel(**HEADS, **sizes, norm_type="ada_norm_single")
        return diffusers.PixArtSigmaPipeline(tokenizer, text, vae, shaken(network), euler)
    if kind.startswith("sd3"):
        (one, first), (two, second) = clip(projected=True), clip(projected=True)
        three, third = t5(16) if kind == "sd3" else (None, None)
        sizes = {"joint_attention_dim": 16, "caption_projection_dim": 32, "pooled_projection_dim": 12}
        channels = {"in_channels": 4, "out_channels": 4, "pos_embed_max_size": 8}
        network = shaken(diffusers.SD3Transformer2DModel(**HEADS, **sizes, **channels))
        return diffusers.StableDiffusion3Pipeline(network, flow, vae, one, first, two, second, three, third)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "num_single_layers": 1}
    if kind == "flux2":
        text, tokenizer = qwen()
        vae = kl("AutoencoderKLFlux2").eval()
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
        more = {"in_channels": 16, "joint_attention_dim": 24, "guidance_embeds": False}
        network = diffusers.Flux2Transformer2DModel(**sizes, **more, axes_dims_rope=(4, 4, 4, 4))
        return diffusers.Flux2KleinPipeline(flow, vae, text, tokenizer, shaken(network))
    (one, first), (two, second) = clip(), t5()
    more = {"in_channels": 16, "joint_attention_dim": 8, "pooled_projection_dim": 8, "guidance_embeds": "_" in kind}
    network = diffusers.FluxTransformer2DModel(**sizes, **more, axes_dims_rope=(4, 6, 6))
    return diffusers.FluxPipeline(flow, vae, one, first, two, second, shaken(network))
