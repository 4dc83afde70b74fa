"""Captioners, dual encoders and classifiers of the `transformers` package, an extra: pip install "ppgn[models]"."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.errors import InputError, first_line
from ppgn.networks.captioner import SentenceNetwork, word_log_probs
from ppgn.networks.network import Network, Preprocessing

BILINEAR = 2  # Pillow's number of the filter


def load(name: str, others: Sequence[str] = ()) -> SentenceNetwork:
    """A captioner (BLIP, GIT, VisionEncoderDecoder, …) or a dual encoder (CLIP, SigLIP, …), frozen, in float32.

    `name` is that of the Hugging Face hub or a folder; `others` are the sentences that a dual encoder weighs the target
    against. Raises `InputError` without the package, for a name that cannot be had, and for any other kind of model.
    """
    package, config, processor = _described(name)
    model = getattr(package, (config.architectures or [""])[0], None)
    if model is None or not (hasattr(model, "generate") or hasattr(model, "get_text_features")):
        raise InputError(f"'{name}' is {_kind(config)}; expected a captioner like BLIP, or a dual encoder like CLIP")
    with _obtaining(name):
        tokenizer = package.AutoTokenizer.from_pretrained(name)
        body = model.from_pretrained(name, dtype=torch.float32)
    network = Network(body, _preprocessing(processor), name=name, restorable=False, copy=False)
    if hasattr(model, "get_text_features") and hasattr(body, "logit_scale"):
        return DualEncoder(network, tokenizer, others)
    if others:
        raise InputError(f"others={list(others)}: '{name}' is a captioner; only a dual encoder weighs against them")
    return Captioner(network, tokenizer)


def classifier(name: str, labels: Sequence[str] | None = None) -> Network:
    """A classifier, images (B, 3, H, W) in [0, 1] -> logits (B, K), frozen, in float32, its outputs named.

    `name` is that of the Hugging Face hub or a folder. A dual encoder (CLIP, SigLIP, …) classifies by `labels`, texts
    that its logits are scaled cosines with. Raises `InputError` as `load` does, and for a dual encoder without labels.
    """
    package, config, processor = _described(name)
    model: Any = getattr(package, (config.architectures or [""])[0], None)
    with _obtaining(name):
        if hasattr(model, "get_text_features"):
            if not labels:
                raise InputError(f"'{name}' is a dual encoder; give the texts to tell apart: labels=[a dog,a cat]")
            encoder = load(name, labels[1:])
            assert isinstance(encoder, DualEncoder)
            body, processing = _ZeroShot(encoder, labels[0]), encoder.network.preprocessing
            return Network(body, processing, name=name, labels=labels, restorable=False, copy=False)
        if not str((config.architectures or [""])[0]).endswith("ForImageClassification"):
            raise InputError(f"'{name}' is {_kind(config)}; expected a classifier like ViTForImageClassification")
        body = package.AutoModelForImageClassification.from_pretrained(name, dtype=torch.float32)
    network = Network(body, _preprocessing(processor), name=name, restorable=False, copy=False)
    network.name_outputs(labels or [str(config.id2label[index]) for index in range(network.classes)])
    return network


def _described(name: str) -> tuple[ModuleType, Any, Any]:
    """The package, and a model's configuration and image processor."""
    try:
        package = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError('huggingface/NAME needs another package: pip install "ppgn[models]"') from error
    with _obtaining(name):
        return package, package.AutoConfig.from_pretrained(name), package.AutoImageProcessor.from_pretrained(name)


def _kind(config: Any) -> str:
    return ", ".join(config.architectures or ["no model"])


@contextmanager
def _obtaining(name: str) -> Iterator[None]:
    """Turns what goes wrong in getting a model into one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot get '{name}' ({first_line(error)}); give a name of the hub, or a folder") from error


def _preprocessing(processor: Any) -> Preprocessing:
    """What an image processor does, differentiable; the whole image is resized, nothing is cropped away."""
    size = dict((processor.crop_size if getattr(processor, "do_center_crop", False) else None) or processor.size)
    side = size.get("height") or size.get("shortest_edge")
    normalizes, rescales = bool(processor.do_normalize), bool(processor.do_rescale)
    return Preprocessing(
        side,
        mean=processor.image_mean if normalizes else (0.0, 0.0, 0.0),
        std=processor.image_std if normalizes else (1.0, 1.0, 1.0),
        scale=255 * processor.rescale_factor if rescales else 255.0,
        interpolation="bilinear" if int(processor.resample) == BILINEAR else "bicubic",
    )


def _no_truncation(truncated: bool, network: Network) -> None:
    if truncated:
        hint = "add condition.gradient=full"
        raise InputError(f"gradient=truncated is the released sampler's, which '{network.name}' has not; {hint}")


class Captioner(SentenceNetwork):
    """log p(token | tokens before, x) by teacher forcing of a model that generates text from an image."""

    def __init__(self, network: Network, tokenizer: Any) -> None:
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        config: Any = network.body.config
        self.decodes = bool(getattr(config, "is_encoder_decoder", False))
        if self.decodes:
            self.start = config.decoder_start_token_id or config.get_text_config(decoder=True).bos_token_id
        else:
            self.start = config.get_text_config().bos_token_id
        self.end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id

    def encode(self, sentence: str) -> Tensor:
        """Tokens of the sentence and its end, (T,). Raises `InputError` where there are none, or unknown ones."""
        tokens = self.tokenizer(sentence, add_special_tokens=False).input_ids
        unknown = self.tokenizer.unk_token_id
        if not tokens or (unknown in tokens and unknown != self.end):  # GPT-2 has one token for both
            raise InputError(f"caption '{sentence}' cannot be read by '{self.network.name}'; say it in other words")
        return torch.tensor([*tokens, self.end])

    def log_probs(self, x: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], tokens (T,) -> log p of each token given those before it and x, (B, T)."""
        _no_truncation(truncated, self.network)
        read = torch.cat([tokens.new_tensor([self.start]), tokens[:-1]]).expand(len(x), -1)
        words = {"decoder_input_ids" if self.decodes else "input_ids": read}
        out = self.network.body(pixel_values=self.network.preprocessing(x), **words)
        return word_log_probs(out.logits[:, -len(tokens) :], tokens)  # some put places of the image in front

    def captions(self, x: Tensor) -> list[str]:
        """What the model generates for each image (B, 3, H, W) in [0, 1]."""
        body: Any = self.network.body
        with torch.no_grad():
            generated = body.generate(pixel_values=self.network.preprocessing(x), max_new_tokens=30)
        return [text.strip() for text in self.tokenizer.batch_decode(generated, skip_special_tokens=True)]


class DualEncoder(SentenceNetwork):
    """Scaled cosine of image and sentence; with `others`, the log softmax of the sentence among it and them.

    Without others it is no log-probability: it grows with the likeness and has no bound that means certainty.
    """

    def __init__(self, network: Network, tokenizer: Any, others: Sequence[str] = ()) -> None:
        super().__init__()
        self.network, self.tokenizer, self.others = network, tokenizer, tuple(others)

    def encode(self, sentence: str) -> Tensor:
        """Tokens of the sentence, and in further rows of the others, (1 + len(others), T), padded."""
        if not sentence.strip():
            raise InputError("caption '' has no words; expected a sentence, for example 'a photo of a dog'")
        texts = self.tokenizer([sentence, *self.others], padding=True, truncation=True, return_tensors="pt")
        tokens: Tensor = texts.input_ids.masked_fill(texts.attention_mask == 0, -1)
        return tokens

    def log_probs(self, x: Tensor, tokens: Tensor, truncated: bool = False) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], tokens of `encode` -> (B, 1)."""
        _no_truncation(truncated, self.network)
        scores = self.scores(self.network.preprocessing(x), tokens)
        found: Tensor = (scores.log_softmax(1) if self.others else scores)[:, :1]
        return found

    def scores(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Images as the weights expect them, tokens of `encode` -> scaled cosines with the texts, (B, N)."""
        body: Any = self.network.body
        image = _embedding(body.get_image_features(pixel_values=pixels))
        known = tokens != -1
        padded = tokens.masked_fill(~known, self.tokenizer.pad_token_id)
        text = _embedding(body.get_text_features(input_ids=padded, attention_mask=known.long()))
        found: Tensor = body.logit_scale.exp() * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
        return found


class _ZeroShot(nn.Module):
    """Images as a dual encoder's weights expect them -> its scaled cosines with texts, (B, N)."""

    tokens: Tensor

    def __init__(self, network: DualEncoder, first: str) -> None:
        super().__init__()
        self.encoder = network
        self.register_buffer("tokens", network.encode(first), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N)."""
        return self.encoder.scores(pixels, self.tokens)


def _embedding(out: Any) -> Tensor:
    """The vectors (N, D) of an encoder's answer, of which the package's versions make a tensor or an object."""
    found: Tensor = out if isinstance(out, Tensor) else out.pooler_output
    return found
