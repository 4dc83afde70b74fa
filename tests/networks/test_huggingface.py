"""Captioners and dual encoders of transformers, tiny and with random weights, against the package's own losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.conditions.caption import Caption
from ppgn.conditions.classifier import Classifier
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.networks import captioner as captioners
from ppgn.networks import layout, own

transformers = pytest.importorskip("transformers", reason="needs the extra 'models': pip install ppgn[models]")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs", "cat"]
SMALL = {
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
TEXT = {**SMALL, "vocab_size": len(WORDS), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
        "max_position_embeddings": 40}  # fmt: skip
VISION = {**SMALL, "image_size": 16, "patch_size": 8}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def blip() -> Any:
    text = {**TEXT, "encoder_hidden_size": 8, "sep_token_id": 3}
    return transformers.BlipForConditionalGeneration(transformers.BlipConfig(text_config=text, vision_config=VISION))


def git() -> Any:
    return transformers.GitForCausalLM(transformers.GitConfig(vision_config=VISION, **TEXT))


def vit_gpt2() -> Any:
    text = {"vocab_size": len(WORDS), "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 40}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VISION),
        transformers.GPT2Config(**text, bos_token_id=2, eos_token_id=3, pad_token_id=0),
    )
    config.decoder_start_token_id, config.pad_token_id = 2, 0
    return transformers.VisionEncoderDecoderModel(config)


def clip() -> Any:
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
    return transformers.CLIPModel(config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Any]], Path]:
    """A function that writes a model with its tokenizer and image processor into a folder."""

    def save(make: Callable[[], Any]) -> Path:
        folder = tmp_path_factory.mktemp(make.__name__)
        torch.manual_seed(0)
        model = make()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        size = {"height": 16, "width": 16}
        transformers.ViTImageProcessor(size=size, resample=2, image_mean=MEAN, image_std=STD).save_pretrained(folder)
        return folder

    return save


def vit() -> Any:
    names = {"id2label": {0: "sky", 1: "grass", 2: "sand"}}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, **names))


def test_a_classifier_brings_its_labels_and_its_tokens(saved: Any) -> None:
    folder = saved(vit)
    condition = Classifier(f"huggingface/{folder}", "grass")
    body = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    expected = body(pixel_values=normalized(images())).logits.log_softmax(1)[:, 1]
    torch.testing.assert_close(condition(images()), expected, atol=1e-4, rtol=1e-4)
    shapes = condition.network.layer_shapes()
    layer = next(name for name in reversed(shapes) if layout.of(shapes[name]) == layout.Layout(8, 2, 2, 5))
    assert Unit(condition.network, layer, 3, position="class")(images()).shape == (2,)
    with pytest.raises(InputError, match="2 class names for the 3 outputs"):
        own.load(f"huggingface/{folder}", labels=["a", "b"])


def test_a_dual_encoder_tells_labels_apart(saved: Any) -> None:
    folder = saved(clip)
    among = Caption(captioners.load(f"huggingface/{folder}", others=["a cat"]), "a dog runs")
    condition = Classifier(f"huggingface/{folder}", "a dog runs", labels=["a dog runs", "a cat"])
    torch.testing.assert_close(condition(images()), among(images()))
    with pytest.raises(InputError, match="labels="):
        own.load(f"huggingface/{folder}")
    with pytest.raises(InputError, match="expected a classifier"):
        own.load(f"huggingface/{saved(git)}")


def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def normalized(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize("make", [blip, git, vit_gpt2])
def test_a_captioner_s_sentence_is_as_likely_as_its_continuations_say(saved: Any, make: Callable[[], Any]) -> None:
    folder = saved(make)
    network = captioners.load(f"huggingface/{folder}")
    tokens = network.encode("a dog runs")
    assert tokens.tolist() == [5, 6, 7, 3]
    found = network.log_probs(images(), tokens)
    body = getattr(transformers, make().__class__.__name__).from_pretrained(folder).eval()
    name = "decoder_input_ids" if make is vit_gpt2 else "input_ids"
    before = [2]
    for place, token in enumerate(tokens.tolist()):  # one word at a time, the last place only
        with torch.no_grad():
            logits = body(pixel_values=normalized(images()), **{name: torch.tensor([before] * 2)}).logits[:, -1]
        torch.testing.assert_close(found[:, place], logits.log_softmax(1)[:, token], atol=1e-4, rtol=1e-4)
        before.append(token)
    assert len(network.captions(images())) == 2  # type: ignore[arg-type]


def test_gradients_reach_the_image_through_a_captioner(saved: Any) -> None:
    condition = Caption(captioners.load(f"huggingface/{saved(blip)}"), "a dog").double()
    assert torch.autograd.gradcheck(condition, images()[:1].double().requires_grad_(), fast_mode=True)
    row = Caption(condition.captioner, "a cat").describe(images().double())[0]
    assert set(row) == {"log_prob", "word_prob", "caption"}
    with pytest.raises(InputError, match="gradient=truncated is the released sampler's"):
        Caption(condition.captioner, "a dog", "truncated")(images().double())
    with pytest.raises(InputError, match="caption 'a wolf' cannot be read"):
        condition.with_target("a wolf")


def test_a_dual_encoder_weighs_a_sentence_against_others(saved: Any) -> None:
    folder = saved(clip)
    body = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = tokenizer(["a dog runs", "a cat"], padding=True, return_tensors="pt")
    inputs = {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}
    expected = body(pixel_values=normalized(images()), **inputs).logits_per_image
    cosine = Caption(captioners.load(f"huggingface/{folder}"), "a dog runs")
    torch.testing.assert_close(cosine(images()), expected[:, 0], atol=1e-4, rtol=1e-4)
    among = Caption(captioners.load(f"huggingface/{folder}", others=["a cat"]), "a dog runs")
    log_p = F.log_softmax(expected, dim=1)[:, 0]
    torch.testing.assert_close(among(images()), log_p, atol=1e-4, rtol=1e-4)
    assert set(among.describe(images())[0]) == {"log_prob"}
    x = images().requires_grad_()
    assert torch.autograd.grad(among(x).sum(), x)[0].abs().sum() > 0


def test_other_models_are_refused(saved: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"others=\['a cat'\]"):
        captioners.load(f"huggingface/{saved(git)}", others=["a cat"])
    with pytest.raises(InputError, match="cannot get"):
        captioners.load(f"huggingface/{tmp_path}")
