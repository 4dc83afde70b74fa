"""Train a prior: noisy codes of real images back to these codes.

    python train/prior.py prior=noise_conditional model=natural64 data.root=DATA

The images are encoded once; training then sees codes alone. One step draws codes h and noise levels σ, log-uniform in
the prior's range, and descends ‖R(h + σ z, σ) − h‖² as a share of what the best linear denoiser of white codes leaves:
a loss below 1 is what the prior knows beyond mean and variance (the weights of Karras et al. 2022, Table 1).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

import ppgn.model
from ppgn import building, paths
from ppgn.cli import config as configs
from ppgn.contracts import Generator
from ppgn.errors import InputError
from ppgn.model import PPGN
from ppgn.priors.denoiser import Denoiser
from ppgn.priors.mixture import Mixture
from train.command import command, fit
from train.data import ArrayData, BatchStream, FolderData, steps_done

EVERYTHING = 2**40
PROBES = 16  # images whose codes tell whether a cache belongs to an encoder and a data set
LEVELS = 6  # noise levels of a report
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class CodeStream(BatchStream):
    """Endless shuffled batches (B, *code_shape) of codes held in memory; number n depends on seed, rank and n alone."""

    def batch(self, n: int) -> Tensor:
        """Batch number `n`."""
        rows = np.random.default_rng((self.seed, self.rank, n)).integers(len(self.images), size=self.batch_size)
        return self.images[torch.from_numpy(rows).to(self.images.device)]


class CodeData(lightning.LightningDataModule):
    """Codes to train and to validate on, (N, *code_shape); uint8 images stand for themselves, scaled to [0, 1]."""

    def __init__(self, train: Tensor, val: Tensor, batch_size: int, *, seed: int) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Endless batches, from the step that a resumed training has reached; images are mirrored at random."""
        rank, start = 0, 0
        if self.trainer is not None:
            rank, start = self.trainer.global_rank, steps_done(self.trainer.lightning_module)
        stream = BatchStream if self.train.dtype == torch.uint8 else CodeStream
        return DataLoader(stream(self.train, self.batch_size, self.seed, rank, start), batch_size=None)


def scaled(codes: Tensor) -> Tensor:
    """Stored codes in float32: codes as they are, uint8 images in [0, 1]."""
    return codes.float() / 255 if codes.dtype == torch.uint8 else codes.float()


@torch.no_grad()
def encode(model: PPGN, images: Tensor, batch_size: int, *, mirrored: bool = False) -> Tensor:
    """Codes of uint8 images (N, 3, S, S) -> (N, *code_shape) in half precision."""
    codes = []
    for number, part in enumerate(images.split(batch_size)):
        x = (part.flip(-1) if mirrored else part).float().contiguous(memory_format=torch.channels_last) / 255
        codes.append(model.encode(x).half().cpu())
        if number % 100 == 0:
            print(f"encoding: {number * batch_size:,} of {len(images):,} images", flush=True)
    return torch.cat(codes)


def load_codes(model: PPGN, data: ArrayData | FolderData, cfg: DictConfig) -> tuple[Tensor, Tensor]:
    """Codes of the training (mirrored images behind the others) and of the validation images.

    Read from `cfg.codes` where that file is of this encoder and these images, as a few codes computed anew tell; else
    computed and written there.
    """
    path = Path(cfg.codes).expanduser()
    probe = encode(model, data.spread("train", PROBES), PROBES).float()
    asked = json.dumps([cfg.images, cfg.val_images, cfg.mirrored])
    found = _read_codes(path)
    if found is not None:
        stored, kind = found
        known = stored["probe"].float()
        if kind == asked and known.shape == probe.shape and torch.allclose(known, probe, atol=0.02):
            return stored["train"], stored["val"]
        print(f"codes: {path} is of another encoder or of other images; encoding anew", flush=True)
    images = data.spread("train", cfg.images or EVERYTHING)
    train = [encode(model, images, cfg.encode_batch_size, mirrored=flip) for flip in (False, True)[: 1 + cfg.mirrored]]
    tensors = {
        "train": torch.cat(train),
        "val": encode(model, data.spread("val", cfg.val_images), cfg.encode_batch_size),
        "probe": probe.half(),
    }
    paths.write(path, safetensors.torch.save(tensors, metadata={"images": asked}))
    return tensors["train"], tensors["val"]


def _read_codes(path: Path) -> tuple[dict[str, Tensor], str] | None:
    """The tensors of a cache of codes and what was asked of it, or None where there is no such file."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in ("train", "val", "probe")}
            return stored, (file.metadata() or {}).get("images", "")
    except (OSError, SafetensorError):
        return None


def spectrum(codes: Tensor) -> Tensor:
    """Variances along the principal directions of codes (N, *code_shape), float64.

    Those of the covariance for vectors; images are taken to be alike at every position, channel by channel, so that
    Fourier components are their directions. Meaningful for many times as many codes as a code has dimensions: of fewer
    than these, some variances are 0.
    """
    if codes.dim() == 2:
        variances: Tensor = torch.linalg.eigvalsh(torch.cov(scaled(codes).double().T)).clamp_min(0)
        return variances
    centred = scaled(codes) - scaled(codes).mean(0)
    power: Tensor = torch.fft.fft2(centred, norm="ortho").abs().double().square().mean(0)
    return power.flatten()


def thinned(codes: Tensor, count: int) -> Tensor:
    """At least `count` of the codes, if there are so many, spread over all of them."""
    return codes[:: max(1, len(codes) // count)]


def noise(codes: Tensor, sigma: Tensor, seed: Sequence[int]) -> Tensor:
    """Codes (B, ...) with noise of standard deviations (B,), drawn from `seed` alone."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random = torch.Generator(codes.device).manual_seed(state)
    z = torch.randn(codes.shape, generator=random, device=codes.device)
    return codes + sigma.view(-1, *[1] * (codes.dim() - 1)) * z


class PriorTraining(lightning.LightningModule):
    """A denoiser against codes (B, *code_shape) whose mean variance is `variance`.

    The learning rate grows over `lr_warmup` steps and falls as a half cosine to nothing at step `steps`. `ema` is the
    decay of the averaged prior, a plain copy for the first `ema_warmup` steps.
    """

    steps_done: Tensor

    def __init__(
        self,
        prior: Denoiser,
        variance: float,
        steps: int,
        *,
        optimizer: MakeOptimizer,
        lr_warmup: int,
        ema: float,
        ema_warmup: int,
        seed: int,
        log_every: int,
    ) -> None:
        super().__init__()
        self.prior, self.variance, self.steps, self.make_optimizer = prior, variance, steps, optimizer
        self.lr_warmup, self.ema_warmup, self.seed, self.log_every = lr_warmup, ema_warmup, seed, log_every
        self.average = AveragedModel(prior, multi_avg_fn=get_ema_multi_avg_fn(ema)).requires_grad_(False)
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.long))

    def configure_optimizers(self) -> Any:
        """The optimiser and its learning rate, step by step."""
        optimizer = self.make_optimizer(self.prior.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._rate), "interval": "step"},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another prior."""
        known = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        if known != {name: value.shape for name, value in self.state_dict().items()}:
            raise InputError("training: last.ckpt is of another prior; give resume=false, or another out")

    def _rate(self, step: int) -> float:
        falling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, self.steps)))
        return min(1.0, (step + 1) / max(1, self.lr_warmup)) * falling

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of stored codes."""
        h, step = scaled(batch), int(self.steps_done)
        low, high = self.prior.sigmas
        levels = np.random.default_rng((self.seed, self.global_rank, step, 1)).random(len(h), dtype=np.float32)
        sigma = low * (high / low) ** torch.from_numpy(levels).to(h)
        found = self.prior.denoise(noise(h, sigma, (self.seed, self.global_rank, step, 2)), sigma)
        linear = self.variance * sigma.square() / (self.variance + sigma.square())
        loss: Tensor = ((found - h).square().flatten(1).mean(1) / linear).mean()
        if step % self.log_every == 0:
            self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update of the prior and of its average."""
        super().optimizer_step(*args, **kwargs)
        if int(self.steps_done) < self.ema_warmup:
            self.average.n_averaged.zero_()  # the next update is a copy
        self.average.update_parameters(self.prior)
        self.steps_done += 1


@torch.no_grad()
def report(prior: Denoiser, codes: Tensor, variances: Tensor) -> list[dict[str, float]]:
    """The denoising loss per dimension on held-out codes, beside that of the best linear denoiser, by noise level.

    The linear denoiser is the best there is for Gaussian data with `variances` along the principal directions; of
    whitened codes it leaves σ² / (1 + σ²).
    """
    low, high = prior.sigmas
    device = next(iter(prior.state_dict().values())).device
    lines = []
    for number, sigma in enumerate(np.geomspace(low, high, LEVELS) if low < high else [low]):
        total = 0.0
        for start, part in enumerate(codes.split(512)):
            h = scaled(part).to(device)
            levels = h.new_full((len(h),), float(sigma))
            found = prior.denoise(noise(h, levels, (number, start)), levels)
            total += float((found - h).square().flatten(1).mean(1).sum())
        linear = float((variances * sigma**2 / (variances + sigma**2)).mean())
        loss = total / len(codes)
        lines.append({"sigma": float(sigma), "loss": loss, "linear": linear, "ratio": loss / linear})
    return lines


class ExportPrior(lightning.Callback):
    """Writes, every `every_steps` steps and at the end, the model with the averaged prior, and a report of it."""

    def __init__(self, path: Path, model: PPGN, name: str, config: dict[str, Any], every_steps: int) -> None:
        self.path, self.model, self.name, self.config, self.every_steps = path, model, name, config, every_steps
        self.variances: Tensor | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Export after every `every_steps`-th step."""
        if steps_done(module) % self.every_steps == 0:
            self._write(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Export what was reached."""
        self._write(trainer, module)

    def _write(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, PriorTraining)
        prior = module.average.module
        assert isinstance(prior, Denoiser)
        self.write(prior, trainer.datamodule, steps_done(module))  # type: ignore[attr-defined]

    def write(self, prior: Denoiser, data: CodeData, step: int) -> None:
        """Write `prior`, reached after `step` steps, and how well it does on the held-out codes of `data`."""
        if self.variances is None:
            self.variances = spectrum(thinned(data.train, 20000 if data.train.dim() == 2 else 2000))
        self.model.with_prior(self.name, prior, self.config).save(self.path)
        lines = report(prior, data.val, self.variances)
        paths.write(self.path.with_name("report.json"), json.dumps({"step": step, "levels": lines}, indent=1) + "\n")
        for line in lines:
            print(f"step {step}: " + ", ".join(f"{key} {value:.4g}" for key, value in line.items()), flush=True)


def base_model(cfg: DictConfig) -> PPGN:
    """The model that `cfg.model` names; pixels as codes where it is null."""
    if cfg.model is not None:
        return ppgn.model.load(str(cfg.model))
    size = configs.whole(cfg, "size", 1)
    pixels = {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, size, size]}
    return PPGN.from_config({"generator": pixels})


def load_data(model: PPGN, cfg: DictConfig) -> CodeData:
    """What to train on: codes by the model's encoder, or the images themselves where it has none."""
    data = configs.build(cfg.data)
    for key in ("val_images", "encode_batch_size"):
        configs.whole(cfg, key, 1)
    if model.encoder is not None:
        train, val = load_codes(model, data, cfg)
    else:
        train, val = data.spread("train", cfg.images or EVERYTHING), data.spread("val", cfg.val_images)
        if tuple(train.shape[1:]) != model.generator.code_shape:
            shapes = f"images are {tuple(train.shape[1:])}, the model's codes {model.generator.code_shape}"
            raise InputError(f"data: {shapes}; set size={train.shape[-1]}")
    return CodeData(train, val, cfg.data.batch_size, seed=cfg.seed)


def run(cfg: DictConfig) -> PriorTraining | Mixture:
    """Build what the configuration names, train it, and return the trained module; a mixture is fitted and returned.

    A training goes on from `out/last.ckpt` where that exists and `resume` is true. Raises `InputError` for bad
    settings.
    """
    lightning.seed_everything(cfg.seed, workers=True)
    folder = Path(cfg.out).expanduser()
    model = base_model(cfg)
    settings: Any = OmegaConf.to_container(cfg.prior, resolve=True)
    settings["code_shape"] = list(cast(Generator, model.generator).code_shape)
    prior = building.build(settings)
    if not isinstance(prior, Denoiser):
        raise InputError(f"prior: '{settings.get('_target_')}' cannot be trained; give one of ppgn.priors that can")
    model.with_prior(cfg.name, prior, settings)  # refuses what does not fit before anything is encoded
    data = load_data(model, cfg)
    path = folder / f"{Path(str(cfg.model or 'pixels')).stem}.safetensors"
    export = ExportPrior(path, model, cfg.name, settings, cfg.export_every)
    if isinstance(prior, Mixture):
        paths.write(folder / "config.yaml", OmegaConf.to_yaml(cfg))
        rounds = configs.whole(cfg, "rounds", 1)
        prior.fit(scaled(data.train), rounds, cfg.seed)
        export.write(prior, data, rounds)
        return prior
    variance = float(scaled(thinned(data.train, 2000)).var(0).mean())
    module: PriorTraining = configs.build(cfg.training, prior=prior, variance=variance, steps=cfg.steps)
    fit(cfg, module, data, export)
    return module


def main(words: Sequence[str]) -> int:
    """Train with `words`, key=value each, over conf/train_prior.yaml -> exit status, 2 for bad input."""

    def named(cfg: DictConfig, options: Mapping[str, str]) -> None:
        cfg.name = cfg.name or options["prior"]
        run(cfg)

    return command("prior", words, named)


if __name__ == "__main__":
    from train import prior  # the module that configurations name, not a second copy of it

    sys.exit(prior.main(sys.argv[1:]))
