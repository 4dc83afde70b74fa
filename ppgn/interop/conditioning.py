"""What diffusion networks of diffusers are told beside noisy codes and a time: classes, texts, sizes, places."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError

TEXTLESS = ("UNet2DModel", "DiTTransformer2DModel")
PATCHES = {"FluxTransformer2DModel": 2, "Flux2Transformer2DModel": 1}  # of codes, the side of what becomes one token
WITH_TEXT = ("UNet2DConditionModel", "SD3Transformer2DModel", "PixArtTransformer2DModel", *PATCHES)
BESIDE = {  # a network's second input of a text
    "UNet2DConditionModel": "added_cond_kwargs.text_embeds",
    "PixArtTransformer2DModel": "encoder_attention_mask",
    "SD3Transformer2DModel": "pooled_projections",
    "FluxTransformer2DModel": "pooled_projections",
}
FLUX_TIMES = 1000  # FLUX's networks take the time of a flow, 0 to 1, instead of a timestep
Wish = dict[str, Tensor]  # one row each; a dotted name is nested


class Tokens(nn.Module):
    """A network of FLUX.1 or FLUX.2, which takes a row of tokens with their places, as one that takes codes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.patch = network, PATCHES[type(network).__name__]

    def forward(
        self, x: Tensor, *, timestep: Tensor, encoder_hidden_states: Tensor, return_dict: bool = False, **told: Any
    ) -> tuple[Tensor]:
        """Codes (B, C, H, W), timesteps (B,) and embeddings of a text (B, L, D) -> what it predicts, (B, C, H, W)."""
        patches = F.pixel_unshuffle(x, self.patch)
        height, width = patches.shape[2:]
        places = torch.zeros(height, width, 4, device=x.device)  # in float32, which knows more than 256 of them
        order = torch.zeros(encoder_hidden_states.shape[1], 4, device=x.device)
        places[..., 1], places[..., 2] = torch.arange(height)[:, None], torch.arange(width)
        if self.patch == 1:
            order[:, 3] = torch.arange(len(order))
        axes = 3 if self.patch == 2 else 4
        out: Tensor = self.network(
            hidden_states=patches.flatten(2).mT,
            timestep=timestep / FLUX_TIMES,
            encoder_hidden_states=encoder_hidden_states,
            img_ids=places.flatten(0, 1)[:, :axes],
            txt_ids=order[:, :axes],
            return_dict=False,
            **told,
        )[0]
        return (F.pixel_shuffle(out.mT.unflatten(2, (height, width)), self.patch),)


def channels(network: Any) -> int:
    """Of the codes that a network takes."""
    taken: int = network.config.in_channels
    return taken // PATCHES.get(type(network).__name__, 1) ** 2


def labels(network: Any, label: int | None) -> tuple[Wish, Wish | None]:
    """What a network of classes is told of a class, and of none. Raises `InputError` for one that it does not know."""
    rigid = type(network).__name__ == "DiTTransformer2DModel"
    classes = network.config.num_embeds_ada_norm if rigid else network.config.num_class_embeds
    if label is not None and not 0 <= label < (classes or 0):
        raise InputError(f"label={label}; expected {f'0 to {classes - 1}' if classes else 'none: it knows no classes'}")
    if not rigid and label is None and classes:
        raise InputError(f"its network wants a class; give label=0 to {classes - 1}")
    blank = {"class_labels": torch.tensor([classes])} if rigid else None
    return (blank or {}) if label is None else {"class_labels": torch.tensor([label])}, blank


@torch.no_grad()
def texts(
    reader: Any, network: Any, prompt: str, negative: str, guidance: float, size: Shape
) -> tuple[Wish, Wish | None]:
    """What a network of texts is told of a prompt, and of what stands against it where it is to be guided.

    reader: a pipeline, of which tokenizers and text encoders are there. negative: "" is the pipeline's own, mostly the
        empty text, nothing for some. size: (H, W) of the pictures.
    A network that was trained to be told `guidance` itself gets it, and nothing stands against its prompt.
    """
    kind, config = type(network).__name__, network.config
    taken = inspect.signature(reader.encode_prompt).parameters
    distilled = bool(getattr(config, "guidance_embeds", False))
    guided = guidance != 1 and not distilled
    words: dict[str, Any] = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": guided}
    words |= {"prompt_2": None, "prompt_3": None}
    words |= {"negative_prompt": negative} if negative else {}
    words = {name: value for name, value in words.items() if name in taken}
    found = list(reader.encode_prompt(prompt=prompt, **words))
    if "do_classifier_free_guidance" not in taken:  # one text at a time, then what else belongs to it
        other = list(reader.encode_prompt(prompt=negative, **words)) if guided else [None, None]
    elif kind == "PixArtTransformer2DModel":
        found, other = found[:2], found[2:]
    else:
        found, other = found[::2], found[1::2]

    def told(said: list[Any]) -> Wish:
        row: Wish = {"encoder_hidden_states": said[0]}
        if kind in BESIDE and len(said) > 1:
            row[BESIDE[kind]] = said[1]
        own = next(network.parameters()).dtype
        row = {name: value.to(own) if value.is_floating_point() else value for name, value in row.items()}
        if getattr(config, "addition_embed_type", None) == "text_time":
            row["added_cond_kwargs.time_ids"] = torch.tensor([[*size, 0, 0, *size]], dtype=own)
        if getattr(network, "use_additional_conditions", False):
            row["added_cond_kwargs.resolution"] = torch.tensor([size], dtype=own)
            row["added_cond_kwargs.aspect_ratio"] = torch.tensor([[size[0] / size[1]]], dtype=own)
        if distilled:
            row["guidance"] = torch.tensor([guidance])
        return row

    return told(found), told(other) if guided else None
