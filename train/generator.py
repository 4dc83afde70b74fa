"""Train a generator: codes of real images back to those images.

    ppgn train generator experiment=natural64_cpu data.root=DATA

One step follows Nguyen et al. (2016), section 3.4, and the training code released with it: h = E(x), x̂ = G(h); the
discriminator learns to tell x from x̂ given h; then G descends the image, feature, code and adversarial losses. A part
of each batch may be drawn from codes that no photograph has, as a sampler comes upon them: the discriminator alone
judges these, without the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ppgn.contracts import Generator
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError, check_known, unknown
from ppgn.generators.resnet import ResNet
from ppgn.media import images
from ppgn.model import BUILT_IN, PPGN, load
from ppgn.networks.network import Network
from ppgn.priors.mixture import Mixture
from train.augmentation import Augmentation
from train.codes import CodeCache, GivenCodes
from train.command import MakeOptimizer, Training, alone, build, fit, last_state, optimizer_of, prepare
from train.data import ArrayData, FolderData
from train.discriminators import Discriminator
from train.losses import Adversarial, BalanceRule, feature_loss, gradients, image_loss, spread
from train.shares import Share, mean
from train.streams import ShardData

LOSSES = ("image", "feature", "code", "adversarial")


@dataclass(frozen=True)
class Pair:
    """Real images and what G drew, whose features are the comparator's, by layer."""

    x: Tensor  # (B, 3, S, S)
    h: Tensor  # the codes (P, D) of the first P
    drawn: Tensor  # (B, 3, S, S): of these codes, then of codes that no photograph has
    seen: Tensor  # that with the noise of Joint PPGN-h, as the feature and code losses look at it
    x_features: dict[str, Tensor]
    drawn_features: dict[str, Tensor]
    seen_features: dict[str, Tensor]
    whole: tuple[Tensor | None, Tensor | None] = None, None  # the rows (B,) of x and drawn not `halved`; None: all


class GeneratorTraining(Training):
    """G, and D if there is one, against a frozen encoder; conf/training/ says what every key is.

    `comparator` is E1 of the paper; without one no features are compared. With `balanced` the adversarial gradient on
    the compared features is scaled to `weights.adversarial` times the feature loss's (Esser et al. 2021), on pixels to
    as many times the image loss's, else it is used as published. x and x̂ are compared in one random window, so that
    no pattern can hide in the grid of the comparator's strides. Joint PPGN-h has three denoising autoencoders on one
    path, which are to give back x, its features and h: from `noise`, `image_noise` and `inner_noise`. 0 everywhere is
    the noiseless variant.

    Several processes take the steps that one would take with all of their batches, up to rounding: they draw the random
    numbers of the whole batch and use those of their rows, and what is a whole batch's (variances, the strength of
    gradients) is of all. Of each process's own are dropout, in the published discriminator, and, where images have two
    sizes, the mean over those of full size in the game without codes.
    """

    left_out = ("model.priors",)
    together = "ddp_find_unused_parameters_true"  # neither network's update passes through the other's parameters

    def __init__(
        self,
        model: PPGN,
        *,
        weights: Mapping[str, float],
        comparator: Network | None = None,
        layers: Sequence[str] = (),
        generator_optimizer: MakeOptimizer,
        discriminator_optimizer: MakeOptimizer | None = None,
        discriminator: Discriminator | None = None,
        adversarial: Adversarial | None = None,
        balance: BalanceRule | None = None,
        balanced: bool = False,
        relative_features: bool = True,
        image_power: float = 2.0,
        start: int = 0,
        alone: int = 0,
        ramp: int = 1,
        halve_at: Sequence[int] = (),
        crop: float = 1.0,
        crop_most: float = 1.0,
        learning: Sequence[str] | None = None,
        augmentation: Augmentation | None = None,
        codes: GivenCodes | None = None,
        code_share: float = 1.0,
        noise: float = 0.0,
        image_noise: float = 0.0,
        inner_noise: float = 0.0,
        inner_layer: str | None = None,
        ema: float = 0.999,
        ema_warmup: int = 1000,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if len({part is None for part in (discriminator, adversarial, discriminator_optimizer)}) > 1:
            raise InputError("training: give discriminator, adversarial and discriminator_optimizer together, or none")
        strange = [name for name in weights if name not in LOSSES]
        if strange:
            raise InputError(f"training: unknown loss '{strange[0]}' in weights; expected {', '.join(LOSSES)}")
        if not 0 < crop <= crop_most <= 1:
            raise InputError(f"training: crop={crop}, crop_most={crop_most}; expected 0 < crop <= crop_most <= 1")
        if inner_noise and not weights.get("code"):
            raise InputError(f"training: inner_noise={inner_noise} is for the code loss; set weights.code, as to 1.0")
        if inner_noise:
            check_known("training.inner_layer", inner_layer, model.encoder.network.layers())
        if codes is not None and codes.share and (discriminator is None or discriminator.games < 2):
            reason = "nothing else judges drawings of other codes than photographs'"
            raise InputError(f"training.codes needs training.discriminator.unconditional=true: {reason}")
        if codes is not None and codes.mixture and "mixture" not in model.priors:
            reason = "there is no prior 'mixture'; name a model that has it, as weights=natural64, or set this to 0"
            raise InputError(f"training.codes.mixture={codes.mixture}: {reason}")
        self.model, self.comparator, self.layers = model, comparator, tuple(layers)
        self.weights = {name: float(weights.get(name, 0.0)) for name in LOSSES}
        self.make_optimizers = generator_optimizer, discriminator_optimizer
        self.discriminator: Any = discriminator  # these two are there where the adversarial part is asked for
        self.adversarial: Any = adversarial
        self.balance, self.balanced = balance, balanced
        self.relative_features, self.image_power = relative_features, image_power
        self.start, self.alone, self.ramp, self.halve_at = start, alone, ramp, tuple(halve_at)
        self.crop = crop, crop_most
        self.augmentation, self.codes, self.code_share = augmentation, codes, code_share
        self.known: CodeCache | None = None
        self.noise, self.image_noise, self.inner_noise, self.inner_layer = noise, image_noise, inner_noise, inner_layer
        self.ema_warmup, self.log_every = ema_warmup, log_every
        self.average = AveragedModel(model.generator, multi_avg_fn=get_ema_multi_avg_fn(ema)).requires_grad_(False)
        self.model.encoder.requires_grad_(False)
        if learning is not None:
            self._freeze(tuple(learning))

    def _freeze(self, learning: tuple[str, ...]) -> None:
        """Let only the generator's modules of these names learn."""
        names = dict(self.model.generator.named_modules())
        strange = [name for name in learning if name not in names]
        if strange:
            raise unknown("training.learning", strange[0], [name for name in names if name])
        self.model.generator.requires_grad_(False)
        for name in learning:
            names[name].requires_grad_(True)

    def averaged(self) -> PPGN:
        """The model with the averaged generator, sharing memory with this module; priors on its codes stay."""
        trained = {name: prior for name, prior in self.model.priors.items() if name not in BUILT_IN}
        return PPGN(self.average.module, self.model.encoder, trained, config=self.model.config)

    def configure_optimizers(self) -> list[Optimizer]:
        """G's optimiser and, if there is a discriminator, D's."""
        made = zip(self.make_optimizers, (self.model.generator, self.discriminator), strict=True)
        return [
            optimizer_of(make, [p for p in network.parameters() if p.requires_grad])
            for make, network in made
            if make is not None
        ]

    def training_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> None:
        """One update of D and one of G, where the balance rule lets them.

        A batch is uint8 images (B, 3, S, S), with or without their places in the data (B,).
        """
        step = int(self.steps_done)
        if step in self.halve_at:
            for group in [group for optimizer in self._optimizers() for group in optimizer.param_groups]:
                group["lr"] *= 0.5
        active = self.discriminator is not None and step >= self.start
        pair = self._draw(batch, mixed=active)
        logs = self._train_discriminator(pair, first=step == self.start) if active else {}
        joined = step - self.start - self.alone  # steps that both have learned
        if joined >= 0 or not active:
            logs |= self._train_generator(pair, ramp=min(1.0, (joined + 1) / self.ramp) if active else 0.0)
        if active and "adversarial" in logs and self.balance is not None:
            losses = torch.stack([logs["d_real"] + logs["d_fake"], logs["adversarial"]])
            self.balance.update(*mean(losses).tolist())  # so that all processes decide alike
        if step < self.ema_warmup:
            self.average.n_averaged.zero_()  # the next update is a copy
        self.average.update_parameters(self.model.generator)
        self.steps_done += 1
        if step % self.log_every == 0:
            self.log_dict(logs, prog_bar=True)

    def _draw(self, batch: Tensor | Sequence[Tensor], *, mixed: bool = False) -> Pair:
        """Encode a uint8 batch and let G draw it; `mixed`, a share of the drawings is of other codes."""
        images, *rest = [batch] if isinstance(batch, Tensor) else batch
        places, coarse = (*rest, None, None)[:2]
        x = (images.float() / 255).contiguous(memory_format=torch.channels_last)
        codes = self.codes if mixed else None
        count = len(x) if codes is None else codes.photographs(len(x))
        share, window = Share.own(), random_window(x.shape[-1], *self.crop)
        change = self.augmentation.draw(len(x), x.device) if self.augmentation is not None else nn.Identity()

        whole: tuple[Tensor | None, Tensor | None] = None, None
        if coarse is not None:  # images of half the size are compared at that size
            whole = ~coarse, ~coarse | (torch.arange(len(x), device=x.device) >= count)

        def compared(images: Tensor) -> dict[str, Tensor]:
            return self.comparator.features(change(images[window]), self.layers) if self.comparator else {}

        with torch.no_grad():
            if self.known is None or places is None:
                h = self.model.encoder(x[:count])
            else:
                h = self.known(x[:count], places[:count])
            x = halved(x, whole[0])
            x_features = compared(x)
            given = h
            if codes is not None:
                prior = self.model.priors["mixture"] if codes.mixture else None
                given = codes(h, len(x) - count, cast("Mixture | None", prior))
            if self.noise:
                given = given + self.noise * share.like(torch.randn, given)
        seen = self.model.generator(given)
        drawn = halved(seen, whole[1])
        drawn_features = seen_features = compared(drawn)
        if self.image_noise:
            seen = seen + self.image_noise * share.like(torch.randn, seen)
            seen_features = compared(halved(seen, whole[1]))
        return Pair(x, h, drawn, seen, x_features, drawn_features, seen_features, whole)

    def _reencode(self, seen: Tensor) -> Tensor:
        """Drawings (B, 3, H, W) -> E(x̂), (B, *code_shape), with noise behind the inner layer."""

        def disturb(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
            size = spread(output, range(output.dim())).sqrt()
            return output + self.inner_noise * size * Share.own().like(torch.randn, output)

        inner = self.model.encoder.network.body.get_submodule(self.inner_layer) if self.inner_noise else None
        with nullcontext() if inner is None else inner.register_forward_hook(disturb):
            code: Tensor = self.model.encoder(seen)
        return code

    def _train_discriminator(self, pair: Pair, *, first: bool) -> dict[str, Tensor]:
        """One update of D -> its losses."""
        if first:
            self.discriminator.calibrate(pair.x_features)
        drawn_features = {name: value.detach() for name, value in pair.drawn_features.items()}
        real = self.discriminator.play(pair.x, pair.x_features, pair.h, pair.whole[0])
        fake = self.discriminator.play(pair.drawn.detach(), drawn_features, pair.h, pair.whole[1])
        losses = [torch.stack(self.adversarial.discriminator(*game)) for game in zip(real, fake, strict=True)]
        on_real, on_fake = torch.stack(losses).sum(0)
        if self.balance is None or self.balance.train_discriminator:
            self._update(1, self.weights["adversarial"] * (on_real + on_fake))
        return {"d_real": on_real.detach(), "d_fake": on_fake.detach()}

    def _train_generator(self, pair: Pair, *, ramp: float) -> dict[str, Tensor]:
        """One update of G -> its losses, unweighted. The adversarial loss counts in full at `ramp` 1, not at 0."""
        count = len(pair.h)
        seen, real = ({n: v[:count] for n, v in of.items()} for of in (pair.seen_features, pair.x_features))
        losses = {"image": image_loss(pair.drawn[:count], pair.x[:count], self.image_power)}
        if real:
            losses["feature"] = feature_loss(seen, real, relative=self.relative_features)
        if self.weights["code"]:
            some = min(count, max(1, round(self.code_share * len(pair.x))))
            losses["code"] = F.mse_loss(self._reencode(pair.seen[:some]), pair.h[:some])  # the fourth of Joint PPGN-h
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        if ramp > 0:
            self.discriminator.requires_grad_(False)
            games = self.discriminator.play(pair.drawn, pair.drawn_features, pair.h, pair.whole[1])
            losses["adversarial"] = torch.stack([self.adversarial.generator(game) for game in games]).sum()
            wanted = self._balanced(games, losses, pair) if self.balanced else losses["adversarial"]
            loss = loss + ramp * self.weights["adversarial"] * wanted
        if self.balance is None or self.balance.train_generator:
            self._update(0, loss)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        return {name: value.detach() for name, value in losses.items()}

    def _balanced(self, games: list[list[Tensor]], losses: dict[str, Tensor], pair: Pair) -> Tensor:
        """What pulls as the adversarial loss does, as strongly as the others where it meets them; noted in `losses`.

        In each game, heads on features meet the feature loss there, heads on pixels the image loss at the images.
        """
        heads = len(games[0]) - self.discriminator.pixel_heads
        on_features, on_pixels = [game[:heads] for game in games], [game[heads:] for game in games]
        seen, drawn = list(pair.seen_features.values()), list(pair.drawn_features.values())
        parts = []
        for name, note, judged, compared, at in (
            ("feature", "balance", on_features, seen, drawn),
            ("image", "pixel_balance", on_pixels, [pair.drawn], [pair.drawn]),
        ):
            strength = self.weights[name] * gradients(losses[name], compared)[1]
            for number, game in enumerate(judged):
                if game:
                    pulls, norm = gradients(self.adversarial.generator(game), at)
                    scale = (strength / norm.clamp(min=1e-8)).clamp(max=1e4)
                    losses[f"{note}_{number}" if number else note] = scale
                    # has the gradient `pulls` there, so that the way back through D is not gone a second time
                    parts += [scale * (place * pull).sum() for place, pull in zip(at, pulls, strict=True)]
        return torch.stack(parts).sum()

    def _optimizers(self) -> list[Any]:
        found = self.optimizers()
        return found if isinstance(found, list) else [found]

    def _update(self, which: int, loss: Tensor) -> None:
        """One step of optimiser number `which`, 0 for G and 1 for D."""
        optimizer = self._optimizers()[which]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        torch.clear_autocast_cache()  # it would go on with the weights as they were


@torch.no_grad()
def export(trainer: Any, module: GeneratorTraining, *, folder: Path, name: str, previews: int) -> None:
    """Write the averaged model, folder/NAME.safetensors, and folder/preview.png, in the first process.

    The picture, which also goes to TensorBoard, shows `previews` held-out originals over their reconstructions.
    """
    if not trainer.is_global_zero:
        return
    model, step = module.averaged(), int(module.steps_done)
    model.save(folder / f"{name}.safetensors", card={"name": name, "step": step})
    real = trainer.datamodule.spread("val", previews).to(module.device) / 255
    picture = images.grid(torch.cat([real, model.generator(model.encoder(real)).float()]), columns=previews)
    images.write(folder / "preview.png", picture)
    if isinstance(trainer.logger, TensorBoardLogger):
        trainer.logger.experiment.add_image("reconstructions", np.asarray(picture), step, dataformats="HWC")


def halved(images: Tensor, whole: Tensor | None) -> Tensor:
    """Images (B, 3, S, S), averaged to S/2 and enlarged again but in the rows `whole` (B,); None: as they are."""
    if whole is None:
        return images
    small = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    return torch.where(whole[:, None, None, None], images, small)


def random_window(side: int, least: float, most: float = 1.0) -> tuple[Any, ...]:
    """An index that cuts a random square out of images (B, C, S, S): its side uniform in [least · S, most · S]."""
    if least >= 1:
        return (...,)
    smallest, largest = (max(1, round(share * side)) for share in (least, most))
    size = int(torch.randint(smallest, largest + 1, ()))
    top, left = torch.randint(side - size + 1, (2,)).tolist()
    return ..., slice(top, top + size), slice(left, left + size)


def start_from(name: str, config: Mapping[str, Any]) -> PPGN:
    """A model of this configuration with weights, and trained priors on the codes, of the model `name` or file.

    Its generator may have more levels than the given one, from which it then grows (`ResNet.grow_from`). Raises
    `InputError` where it is of another architecture.
    """
    given = load(name)
    kept = {key: value for key, value in (given.config or {}).items() if key in ("priors", "samplers")}
    model = PPGN.from_config({**config, **kept})
    own, old = model.generator, given.generator
    if isinstance(own, ResNet) and isinstance(old, ResNet) and len(own.blocks) > len(old.blocks):
        own.grow_from(old)
        given.generator = own
    for part in ("generator", "encoder", "priors"):
        try:
            getattr(model, part).load_state_dict(getattr(given, part).state_dict())
        except RuntimeError as error:
            advice = "give its configuration, or weights=null"
            raise InputError(f"weights={name} do not fit this {part}; {advice}") from error
    return model


@alone
def run(cfg: DictConfig, options: Mapping[str, str] | None = None) -> GeneratorTraining:
    """Build what the configuration names, train it, and return the trained module.

    Goes on from `out/last.ckpt` where that exists and `resume` is true. Raises `InputError` for bad settings.
    """
    prepare(cfg)
    config: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model = PPGN.from_config(config) if cfg.weights is None else start_from(cfg.weights, config)
    data: ArrayData | FolderData | ShardData = build(cfg.data)
    side = cast(Generator, model.generator).signal_shape[-1]
    if isinstance(data, ArrayData) and data.train.shape[-1] != side:
        reason = f"the largest images have {data.train.shape[-1]} pixels, the generator draws {side}"
        raise InputError(f"data.names={list(cfg.data.names)}: {reason}; set data.size={side}")
    if cfg.weights is None and last_state(cfg) is None and model.encoder.dim is not None:
        assert isinstance(model.encoder, FeatureEncoder)
        spread = data.spread("train", cfg.fit_images)
        kept = model.encoder.fit(images.float() / 255 for images in spread.split(cfg.fit_batch_size))
        print(f"encoder: {model.encoder.dim} directions keep {kept:.3f} of the features' variance", flush=True)
    module: GeneratorTraining = build(cfg.training, model=model)
    if cfg.compile:
        module.model.generator.compile()
    if cfg.codes is not None and isinstance(data, ArrayData | ShardData):
        module.known = CodeCache(model.encoder, data.train, model.encoder.code_shape[0], Path(cfg.codes).expanduser())
    folder = Path(cfg.out).expanduser()
    fit(cfg, module, data, partial(export, folder=folder, name=cfg.name, previews=cfg.previews))
    return module
