"""Train a captioner: features of real images to the sentences people wrote about them.

    python train/captioner.py data.root=DATA

The images are looked at once, at each of `sizes` pixels a side; training then sees features and sentences alone. One
step descends −log p(word | words before, features), the mean over the words of a batch (teacher forcing). Beside
NAME/{train,val}_images.npy a set has NAME/{train,val}_captions.jsonl, a line {"captions": [...]} for every image.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import safetensors.torch
import torch
from omegaconf import DictConfig
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.functional.text import bleu_score

from ppgn import paths
from ppgn.cli import config as configs
from ppgn.errors import InputError
from ppgn.networks.captioner import LRCN, tokenize, vocabulary
from ppgn.networks.network import Network
from train.command import command, fit
from train.data import ArrayData, steps_done

PAD = -1
PROBES = 16  # images whose features tell whether a cache belongs to a network and a data set
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
Captions = list[list[str]]  # of every image its sentences
Batch = tuple[Tensor, Tensor]


class PairStream(IterableDataset[Batch]):
    """Endless batches of features (B, F) and padded tokens (B, T); number n depends on seed, rank and n alone.

    Of every image drawn, one of its sentences and one of the sizes it was looked at (features are (S, N, F)).
    """

    def __init__(
        self,
        features: Tensor,
        tokens: Sequence[Sequence[Tensor]],
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        start: int = 0,
    ) -> None:
        self.features, self.tokens, self.batch_size = features, tokens, batch_size
        self.seed, self.rank, self.start = seed, rank, start

    def batch(self, n: int) -> Batch:
        """Batch number `n`."""
        rng = np.random.default_rng((self.seed, self.rank, n))
        sizes, images = (torch.from_numpy(rng.integers(k, size=self.batch_size)) for k in self.features.shape[:2])
        sentences = [self.tokens[int(i)][int(rng.integers(len(self.tokens[int(i)])))] for i in images]
        return self.features[sizes, images].float(), pad_sequence(sentences, batch_first=True, padding_value=PAD)

    def __iter__(self) -> Iterator[Batch]:
        n = self.start
        while True:
            yield self.batch(n)
            n += 1


class PairData(lightning.LightningDataModule):
    """Features (S, N, F) at S sizes and sentences of the images to train on and to validate on."""

    def __init__(
        self,
        train: Tensor,
        train_tokens: Sequence[Sequence[Tensor]],
        val: Tensor,
        val_captions: Captions,
        **stream: int,
    ) -> None:
        super().__init__()
        self.train, self.train_tokens, self.val, self.val_captions = train, train_tokens, val, val_captions
        self.stream = stream

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless batches, from the step that a resumed training has reached."""
        rank, start = 0, 0
        if self.trainer is not None:
            rank, start = self.trainer.global_rank, steps_done(self.trainer.lightning_module)
        return DataLoader(
            PairStream(self.train, self.train_tokens, **self.stream, rank=rank, start=start), batch_size=None
        )


def read_captions(data: ArrayData, split: str) -> Captions:
    """The sentences of every image of a split, in the images' order. Raises `InputError` naming a file that is none."""
    captions: Captions = []
    for name in data.names:
        path = data.root / name / f"{split}_captions.jsonl"
        try:
            lines = path.read_text().splitlines()[: data.limit]
            captions += [list(json.loads(line)["captions"]) for line in lines]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f'data: no captions in {path}; expected a line {{"captions": [...]}} an image') from error
    if not all(captions):
        raise InputError(f"data: an image of {split} has no caption; give each at least one")
    return captions


@torch.no_grad()
def look(captioner: LRCN, images: Tensor, size: int, batch_size: int) -> Tensor:
    """Features of uint8 images (N, 3, S, S), shown with `size` pixels a side -> (N, F) in half precision."""
    seen = []
    for number, part in enumerate(images.split(batch_size)):
        x = part.float().contiguous(memory_format=torch.channels_last) / 255
        if x.shape[-1] != size:
            smaller = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            x = (255 * smaller).round() / 255
        seen.append(captioner.look(x).half().cpu())
        if number % 20 == 0:
            print(f"looking at {size} px: {number * batch_size:,} of {len(images):,} images", flush=True)
    return torch.cat(seen)


def load_features(captioner: LRCN, images: dict[str, Tensor], path: Path, cfg: DictConfig) -> dict[str, Tensor]:
    """Features (S, N, F) of images (N, 3, S, S) at each of `cfg.sizes`, by split.

    Read from `path` where that file is of this network and these images, as a few features computed anew tell; else
    computed and written there.
    """
    probe = torch.cat([look(captioner, images["train"][:PROBES], size, PROBES) for size in cfg.sizes])
    shapes = {split: [len(cfg.sizes), len(x), captioner.features] for split, x in images.items()}
    try:
        stored = safetensors.torch.load_file(path)
        known = stored.pop("probe")
        if {split: list(value.shape) for split, value in stored.items()} == shapes and torch.allclose(
            known.float(), probe.float(), atol=0.02
        ):
            return stored
        print(f"features: {path} is of another network or of other images; looking anew", flush=True)
    except (OSError, SafetensorError, KeyError):
        pass
    found = {
        split: torch.stack([look(captioner, x, size, cfg.look_batch_size) for size in cfg.sizes])
        for split, x in images.items()
    }
    paths.write(path, safetensors.torch.save({**found, "probe": probe}))
    return found


def word_loss(captioner: LRCN, features: Tensor, tokens: Tensor) -> Tensor:
    """−log p of each word but the unknown ones, mean over features (B, F) and tokens (B, T), padded with PAD."""
    outputs = captioner.outputs(features, tokens.clamp_min(0))
    known = (tokens != PAD) & (tokens != captioner.unknown)
    return F.cross_entropy(captioner.write(outputs[known]).float(), tokens[known])


class CaptionerTraining(lightning.LightningModule):
    """An LRCN against sentences. The learning rate grows over `lr_warmup` steps and falls as a half cosine to nothing.

    `best` is the highest mean BLEU-4 of an export so far, `exports_since` counts exports after it.
    """

    steps_done: Tensor
    best: Tensor
    exports_since: Tensor

    def __init__(
        self, captioner: LRCN, steps: int, *, optimizer: MakeOptimizer, lr_warmup: int, log_every: int
    ) -> None:
        super().__init__()
        self.captioner, self.steps, self.make_optimizer = captioner, steps, optimizer
        self.lr_warmup, self.log_every = lr_warmup, log_every
        self.random: Tensor | None = None
        for name, value in (("steps_done", 0), ("best", -1.0), ("exports_since", 0)):
            self.register_buffer(name, torch.tensor(value))

    def configure_optimizers(self) -> Any:
        """The optimiser and its learning rate, step by step."""
        optimizer = self.make_optimizer([p for p in self.captioner.parameters() if p.requires_grad])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._rate), "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        falling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, self.steps)))
        return min(1.0, (step + 1) / max(1, self.lr_warmup)) * falling

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random numbers of the dropout; leave out what packages bring along."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if not k.startswith("captioner.network.")}
        checkpoint["random"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fill in what was left out; refuse the state of another captioner."""
        complete = {**self.state_dict(), **checkpoint["state_dict"]}
        if {k: v.shape for k, v in complete.items()} != {k: v.shape for k, v in self.state_dict().items()}:
            raise InputError("training: last.ckpt is of another captioner; give resume=false, or another out")
        checkpoint["state_dict"], self.random = complete, checkpoint["random"]

    def on_train_start(self) -> None:
        """Go on with the random numbers where a resumed run stood."""
        if self.random is not None:
            torch.set_rng_state(self.random.cpu())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = word_loss(self.captioner, *batch)
        if int(self.steps_done) % self.log_every == 0:
            self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update."""
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1


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


class ExportCaptioner(lightning.Callback):
    """Reports on the validation images every `every_steps` steps and at the end; writes the best captioner to `path`.

    Best is the highest BLEU-4, mean over sizes; after `patience` reports without a better one the training stops.
    """

    def __init__(self, path: Path, sizes: Sequence[int], every_steps: int, patience: int) -> None:
        self.path, self.sizes, self.every_steps, self.patience = path, tuple(sizes), every_steps, patience

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report after every `every_steps`-th step."""
        if steps_done(module) % self.every_steps == 0:
            self._report(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Report what was reached, unless that was just done."""
        if steps_done(module) % self.every_steps:
            self._report(trainer, module)

    def _report(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, CaptionerTraining)
        data: PairData = trainer.datamodule  # type: ignore[attr-defined]
        captioner, step = module.captioner.eval(), steps_done(module)
        lines = [
            {"size": size, **report(captioner, seen, data.val_captions)}
            for size, seen in zip(self.sizes, data.val, strict=True)
        ]
        captioner.train()
        score = sum(line["bleu4"] for line in lines) / len(lines)
        better = score > float(module.best)
        module.best.fill_(max(score, float(module.best)))
        module.exports_since.fill_(0 if better else int(module.exports_since) + 1)
        trainer.should_stop = trainer.should_stop or int(module.exports_since) >= self.patience
        for line in lines if trainer.is_global_zero else ():
            print(f"step {step}: " + ", ".join(f"{key} {value:.4g}" for key, value in line.items()), flush=True)
        if better and trainer.is_global_zero:
            captioner.save(self.path)
            text = json.dumps({"step": step, "sizes": lines}, indent=1) + "\n"
            paths.write(self.path.with_suffix(".json"), text)


def run(cfg: DictConfig) -> CaptionerTraining:
    """Build what the configuration names, train it, and return the trained module.

    Goes on from `out/last.ckpt` where that exists and `resume` is true. Raises `InputError` for bad settings.
    """
    lightning.seed_everything(cfg.seed, workers=True)
    folder = Path(cfg.out).expanduser()
    data: ArrayData = configs.build(cfg.data)
    captions = {split: read_captions(data, split) for split in ("train", "val")}
    images = {split: data.images(split) for split in captions}
    for split, texts in captions.items():
        if len(texts) != len(images[split]):
            raise InputError(f"data: {len(images[split])} images of {split}, but captions of {len(texts)}")
    network: Network = configs.build(cfg.network)
    words = vocabulary((text for texts in captions["train"] for text in texts), cfg.minimum)
    captioner: LRCN = configs.build(cfg.captioner, network=network, words=words)
    features = load_features(captioner, images, Path(cfg.features).expanduser(), cfg)
    tokens = [[torch.tensor(captioner.read(text)[: cfg.longest]) for text in texts] for texts in captions["train"]]
    pairs = PairData(
        features["train"], tokens, features["val"], captions["val"], batch_size=cfg.data.batch_size, seed=cfg.seed
    )
    module: CaptionerTraining = configs.build(cfg.training, captioner=captioner, steps=cfg.steps)
    export = ExportCaptioner(folder / f"{cfg.name}.safetensors", cfg.sizes, cfg.export_every, cfg.patience)
    fit(cfg, module, pairs, export)
    return module


def main(words: Sequence[str]) -> int:
    """Train with `words`, key=value each, over conf/train_captioner.yaml -> exit status, 2 for bad input."""
    return command("captioner", words, lambda cfg, _: run(cfg))


if __name__ == "__main__":
    from train import captioner  # the module that configurations name, not a second copy of it

    sys.exit(captioner.main(sys.argv[1:]))
