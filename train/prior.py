"""Train a prior: noisy codes of real images back to these codes.

    ppgn train prior prior=noise_conditional model=natural64 data.root=DATA

The images are encoded once; training then sees codes alone. One step draws codes h and noise levels σ, log-uniform in
the prior's range, and descends ‖R(h + σ z, σ) − h‖² as a share of what the best linear denoiser of white codes leaves:
a loss below 1 is what the prior knows beyond mean and variance (the weights of Karras et al. 2022, Table 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import ppgn.model
from ppgn import building, paths
from ppgn.arguments import whole
from ppgn.contracts import Generator
from ppgn.errors import InputError
from ppgn.generators.identity import Identity
from ppgn.model import PPGN
from ppgn.priors.bank import Bank
from ppgn.priors.denoiser import Denoiser
from ppgn.priors.mixture import Mixture
from ppgn.priors.stationary import Stationary
from train.codes import PROBES, cached, looked
from train.command import Descent, alone, build, fit, prepare, write_report
from train.data import ArrayData, Draws, FolderData, Stream, shuffled

LEVELS = 6  # noise levels of a report
PIXELS: dict[str, Any] = {"mean": 0.45, "scale": 0.27}  # of photographs' pixels in [0, 1], which most priors want white
Read = Callable[[Tensor], Tensor]


def scaled(codes: Tensor, pixels: Identity | None = None) -> Tensor:
    """Stored codes in float32: codes as they are, uint8 images as codes of `pixels`, by default in [0, 1]."""
    if codes.dtype != torch.uint8:
        return codes.float()
    return codes.float() / 255 if pixels is None else pixels.code(codes.float() / 255)


def encode(model: PPGN, images: Tensor, batch_size: int, *, mirrored: bool = False) -> Tensor:
    """Codes of uint8 images (N, 3, S, S) -> (N, *code_shape) in half precision."""
    return looked(lambda x: model.encode(x.flip(-1) if mirrored else x), images, batch_size, "encoding", every=100)


def load_codes(model: PPGN, data: ArrayData | FolderData, cfg: DictConfig) -> tuple[Tensor, Tensor]:
    """Codes of the training (mirrored images behind the others) and of the validation images; uint8 without an encoder.

    Read from `cfg.codes` where that file is of this encoder and these images; else computed and written there.
    """
    if model.encoder is None:
        return data.spread("train", cfg.images), data.spread("val", cfg.val_images)

    def make() -> dict[str, Tensor]:
        images, size = data.spread("train", cfg.images), cfg.encode_batch_size
        train = [encode(model, images, size, mirrored=flip) for flip in (False, True)[: 1 + cfg.mirrored]]
        return {"train": torch.cat(train), "val": encode(model, data.spread("val", cfg.val_images), size)}

    probe = encode(model, data.spread("train", PROBES), PROBES)
    found = cached(Path(cfg.codes).expanduser(), probe, [cfg.images, cfg.val_images, cfg.mirrored], make)
    return found["train"], found["val"]


def spectrum(codes: Tensor, read: Read = scaled) -> Tensor:
    """Variances along the principal directions of codes (N, *code_shape), float64.

    Those of the covariance for vectors; images are taken to be alike at every position, channel by channel, so that
    Fourier components are their directions. Give many times as many codes as a code has dimensions.
    """
    x = read(codes)
    if codes.dim() == 2:
        variances: Tensor = torch.linalg.eigvalsh(torch.cov(x.double().T)).clamp_min(0)
    else:
        variances = torch.fft.fft2(x - x.mean(0), norm="ortho").abs().double().square().mean(0).flatten()
    return variances


def thinned(codes: Tensor, count: int) -> Tensor:
    """At least `count` of the codes, if there are so many, spread over all of them."""
    return codes[:: max(1, len(codes) // count)]


def noise(codes: Tensor, sigma: Tensor, seed: Sequence[int]) -> Tensor:
    """Codes (B, ...) with noise of standard deviations (B,), drawn from `seed` alone."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random = torch.Generator(codes.device).manual_seed(state)
    z = torch.randn(codes.shape, generator=random, device=codes.device)
    return codes + sigma.view(-1, *[1] * (codes.dim() - 1)) * z


class PriorTraining(Descent):
    """A denoiser against codes (B, *code_shape) whose mean variance is `variance`, and its moving average.

    `read` makes codes of what is stored.
    """

    def __init__(
        self,
        prior: Denoiser,
        variance: float,
        steps: int,
        *,
        ema: float,
        ema_warmup: int,
        seed: int,
        read: Read = scaled,
        **descent: Any,
    ) -> None:
        super().__init__(steps, **descent)
        self.prior, self.variance, self.ema_warmup, self.seed, self.read = prior, variance, ema_warmup, seed, read
        self.average = AveragedModel(prior, multi_avg_fn=get_ema_multi_avg_fn(ema)).requires_grad_(False)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of stored codes."""
        h, step = self.read(batch), int(self.steps_done)
        low, high = self.prior.sigmas
        levels = np.random.default_rng((self.seed, self.global_rank, step, 1)).random(len(h), dtype=np.float32)
        sigma = low * (high / low) ** torch.from_numpy(levels).to(h)
        found = self.prior.denoise(noise(h, sigma, (self.seed, self.global_rank, step, 2)), sigma)
        linear = self.variance * sigma.square() / (self.variance + sigma.square())
        return self.noted(((found - h).square().flatten(1).mean(1) / linear).mean())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update of the prior and of its average."""
        if int(self.steps_done) < self.ema_warmup:
            self.average.n_averaged.zero_()  # the next update is a copy
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.prior)


@torch.no_grad()
def report(prior: Denoiser, codes: Tensor, variances: Tensor, read: Read = scaled) -> list[dict[str, float]]:
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
            h = read(part).to(device)
            levels = h.new_full((len(h),), float(sigma))
            found = prior.denoise(noise(h, levels, (number, start)), levels)
            total += float((found - h).square().flatten(1).mean(1).sum())
        linear = float((variances * sigma**2 / (variances + sigma**2)).mean())
        loss = total / len(codes)
        lines.append({"sigma": float(sigma), "loss": loss, "linear": linear, "ratio": loss / linear})
    return lines


@alone
def run(cfg: DictConfig, options: Mapping[str, str]) -> PriorTraining | Mixture | Bank | Stationary:
    """Build what the configuration names, train it, and return the trained module; those of a formula are fitted.

    Its name in the model is `cfg.name`, or that of the option "prior". A training goes on from `out/last.ckpt` where
    that exists and `resume` is true. Raises `InputError` for bad settings.
    """
    prepare(cfg)
    for key in ("size", "val_images", "encode_batch_size", "rounds"):
        whole(key, cfg[key])
    name = cfg.name or options["prior"]
    settings: Any = OmegaConf.to_container(cfg.prior, resolve=True)
    pixels = {"_target_": "ppgn.generators.identity.Identity", "signal_shape": [3, cfg.size, cfg.size]}
    if getattr(building.locate(str(settings.get("_target_"))), "white", True):
        pixels |= PIXELS
    model = PPGN.from_config({"generator": pixels}) if cfg.model is None else ppgn.model.load(str(cfg.model))
    read = partial(scaled, pixels=model.generator) if isinstance(model.generator, Identity) else scaled
    settings["code_shape"] = list(cast(Generator, model.generator).code_shape)
    prior = building.build(settings)
    if not isinstance(prior, Denoiser):
        raise InputError(f"prior: '{settings.get('_target_')}' cannot be trained; give one of ppgn.priors that can")
    model.with_prior(name, prior, settings)  # refuses what does not fit before anything is encoded
    train, held_out = load_codes(model, build(cfg.data), cfg)
    if tuple(train.shape[1:]) != model.generator.code_shape:
        shapes = f"images are {tuple(train.shape[1:])}, the model's codes {model.generator.code_shape}"
        raise InputError(f"data: {shapes}; set size={train.shape[-1]}")
    path = Path(cfg.out).expanduser() / f"{Path(str(cfg.model or 'pixels')).stem}.safetensors"
    variances = spectrum(thinned(train, 20000 if train.dim() == 2 else 2000), read)

    def put(prior: Denoiser, step: int) -> None:
        """Write the model with `prior`, reached after `step` steps, and how well it does on the held-out codes."""
        model.with_prior(name, prior, settings).save(path)
        write_report(path.with_name("report.json"), step, "levels", report(prior, held_out, variances, read))

    if isinstance(prior, Mixture | Bank | Stationary):
        paths.write(path.with_name("config.yaml"), OmegaConf.to_yaml(cfg))
        if isinstance(prior, Mixture):
            prior.fit(read(train), cfg.rounds, cfg.seed)
        elif isinstance(prior, Bank):
            prior.fit(read(train), cfg.seed)
        else:
            prior.fit(read(train))
        put(prior, cfg.rounds)
        return prior
    variance = float(read(thinned(train, 2000)).var(0).mean())
    module: PriorTraining = build(cfg.training, prior=prior, variance=variance, steps=cfg.steps, read=read)

    def batch(random: Draws) -> Tensor:
        if train.dtype == torch.uint8:  # images are mirrored at random
            return shuffled(train, cfg.data.batch_size, random)[0]
        return train[torch.from_numpy(random.integers(len(train), cfg.data.batch_size))]

    def export(trainer: lightning.Trainer, module: Any) -> None:
        if trainer.is_global_zero:
            put(module.average.module, int(module.steps_done))

    fit(cfg, module, Stream(batch, cfg.seed), export)
    return module
