"""Train a captioner: features of real images to the sentences people wrote about them.

    ppgn train captioner data.root=DATA

The images are looked at once, at each of `sizes` pixels a side; training then sees features and sentences alone. One
step descends −log p(word | words before, features), the mean over the words of a batch (teacher forcing). Beside
NAME/{train,val}_images.npy a set has NAME/{train,val}_captions.jsonl, a line {"captions": [...]} for every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torchmetrics.functional.text import bleu_score

from ppgn.networks.captioner import LRCN, tokenize, vocabulary
from ppgn.networks.network import Network
from train.codes import PROBES, cached, looked
from train.command import Descent, alone, build, fit, prepare, write_report
from train.data import ArrayData, Draws, Stream

PAD = -1
Captions = Sequence[Sequence[str]]  # of every image its sentences
Batch = tuple[Tensor, Tensor]


def pairs(features: Tensor, tokens: Sequence[Sequence[Tensor]], size: int, random: Draws) -> Batch:
    """A batch of `size` features (B, F) and padded tokens (B, T).

    Of every image drawn, one of its sentences and one of the sizes it was looked at (`features` are (S, N, F)).
    """
    sizes, images = (torch.from_numpy(random.integers(k, size)) for k in features.shape[:2])
    sentences = [tokens[i][int(u * len(tokens[i]))] for i, u in zip(images.tolist(), random.random(size), strict=True)]
    return features[sizes, images].float(), pad_sequence(sentences, batch_first=True, padding_value=PAD)


def look(captioner: LRCN, images: Tensor, size: int, batch_size: int) -> Tensor:
    """Features of uint8 images (N, 3, S, S), shown with `size` pixels a side -> (N, F) in half precision."""

    def see(x: Tensor) -> Tensor:
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            x = (255 * x).round() / 255
        return captioner.look(x)

    return looked(see, images, batch_size, f"looking at {size} px", every=20)


def load_features(captioner: LRCN, images: dict[str, Tensor], path: Path, cfg: DictConfig) -> dict[str, Tensor]:
    """Features (S, N, F) of images (N, 3, S, S) at each of `cfg.sizes`, by split.

    Read from `path` where that file is of this network and these images; else computed and written there.
    """

    def make() -> dict[str, Tensor]:
        each = {
            split: [look(captioner, x, size, cfg.look_batch_size) for size in cfg.sizes] for split, x in images.items()
        }
        return {split: torch.stack(found) for split, found in each.items()}

    probe = torch.cat([look(captioner, images["train"][:PROBES], size, PROBES) for size in cfg.sizes])
    return cached(path, probe, {"sizes": list(cfg.sizes), **{split: len(x) for split, x in images.items()}}, make)


def word_loss(captioner: LRCN, features: Tensor, tokens: Tensor) -> Tensor:
    """−log p of each word but the unknown ones, mean over features (B, F) and tokens (B, T), padded with PAD."""
    outputs = captioner.outputs(features, tokens.clamp_min(0))
    known = (tokens != PAD) & (tokens != captioner.unknown)
    return F.cross_entropy(captioner.write(outputs[known]).float(), tokens[known])


class CaptionerTraining(Descent):
    """An LRCN against sentences."""

    best: Tensor  # the highest mean BLEU-4 of an export so far
    exports_since: Tensor  # how many exports came after it

    def __init__(self, captioner: LRCN, **descent: Any) -> None:
        super().__init__(**descent)
        self.captioner = captioner
        for name, value in (("best", -1.0), ("exports_since", 0)):
            self.register_buffer(name, torch.tensor(value))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self.noted(word_loss(self.captioner, *batch))


def bleu(said: Sequence[str], captions: Captions) -> dict[str, float]:
    """Corpus BLEU-1 and BLEU-4 (Papineni et al. 2002) of a sentence an image against all of its captions."""
    references = [[" ".join(tokenize(text)) for text in texts] for texts in captions]
    return {f"bleu{n}": float(bleu_score(list(said), references, n_gram=n)) for n in (1, 4)}


@torch.no_grad()
def report(captioner: LRCN, features: Tensor, captions: Captions, **search: Any) -> dict[str, float]:
    """Loss a word and BLEU of what beam search says, for features (N, F) of images with their captions."""
    device = captioner.bias.device
    said, losses = [], []
    for start, part in enumerate(features.split(100)):
        seen = part.float().to(device)
        said += [captioner.decode(tokens) for tokens in captioner.search(seen, **search)]
        first = [torch.tensor(captioner.read(texts[0])) for texts in captions[100 * start : 100 * start + len(part)]]
        tokens = pad_sequence(first, batch_first=True, padding_value=PAD).to(device)
        losses.append(word_loss(captioner, seen, tokens) * len(part))
    return {"loss": float(torch.stack(losses).sum()) / len(features), **bleu(said, captions)}


def export(
    trainer: lightning.Trainer,
    module: CaptionerTraining,
    *,
    path: Path,
    features: Mapping[int, Tensor],
    captions: Captions,
    patience: int,
) -> None:
    """Report on validation images, by the size they were looked at, and write the best captioner so far to `path`.

    Best is the highest BLEU-4, mean over sizes; after `patience` reports without a better one the training stops.
    """
    captioner, step = module.captioner.eval(), int(module.steps_done)
    lines = [{"size": size, **report(captioner, seen, captions)} for size, seen in features.items()]
    captioner.train()
    score = sum(line["bleu4"] for line in lines) / len(lines)
    better = score > float(module.best)
    module.best.fill_(max(score, float(module.best)))
    module.exports_since.fill_(0 if better else int(module.exports_since) + 1)
    trainer.should_stop = trainer.should_stop or int(module.exports_since) >= patience
    if better and trainer.is_global_zero:
        captioner.save(path)
    if trainer.is_global_zero:
        write_report(path.with_suffix(".json") if better else None, step, "sizes", lines)


@alone
def run(cfg: DictConfig, options: Mapping[str, str]) -> CaptionerTraining:
    """Build what the configuration names, train it, and return the trained module.

    Goes on from `out/last.ckpt` where that exists and `resume` is true. Raises `InputError` for bad settings.
    """
    prepare(cfg)
    data: ArrayData = build(cfg.data)
    captions = {split: data.photographs(split).captions for split in ("train", "val")}
    images = {split: data.spread(split) for split in captions}
    network: Network = build(cfg.network)
    words = vocabulary((text for texts in captions["train"] for text in texts), cfg.minimum)
    captioner: LRCN = build(cfg.captioner, network=network, words=words)
    features = load_features(captioner, images, Path(cfg.features).expanduser(), cfg)
    tokens = [[torch.tensor(captioner.read(text)[: cfg.longest]) for text in texts] for texts in captions["train"]]
    stream = Stream(partial(pairs, features["train"], tokens, cfg.data.batch_size), cfg.seed)
    module: CaptionerTraining = build(cfg.training, captioner=captioner, steps=cfg.steps)
    path = Path(cfg.out).expanduser() / f"{cfg.name}.safetensors"
    seen = dict(zip(cfg.sizes, features["val"], strict=True))
    write = partial(export, path=path, features=seen, captions=captions["val"], patience=cfg.patience)
    fit(cfg, module, stream, write)
    return module
