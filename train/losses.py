"""The losses a generator is trained with (Nguyen et al. 2016, section 3.4; Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


def image_loss(fake: Tensor, real: Tensor, power: float = 2.0) -> Tensor:
    """Mean |G(h) − x|^power over images (B, 3, H, W) in [0, 1]."""
    return (fake - real).abs().pow(power).mean()


def feature_loss(fake: Mapping[str, Tensor], real: Mapping[str, Tensor], *, relative: bool = True) -> Tensor:
    """Mean squared difference of feature maps (B, C, H, W), averaged over layers.

    `relative` divides each channel's error by that channel's variance in the real batch, so that no layer and no
    channel outweighs the others by its scale alone; the published loss (pool5 of CaffeNet alone) does not.
    """
    losses = []
    for name, target in real.items():
        error = (fake[name] - target).square()
        if relative:
            variance = target.var(dim=(0, 2, 3), keepdim=True) if target.dim() == 4 else target.var(dim=0, keepdim=True)
            error = error / (variance + 0.1 * variance.mean() + 1e-8)
        losses.append(error.mean())
    return torch.stack(losses).mean()


def code_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference of codes E(G(h)) and h, (B, D): the fourth loss of Joint PPGN-h."""
    return (fake - real).square().mean()


class Adversarial(Protocol):
    """What D and G play for, on logits of one tensor a head."""

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """D's loss on real and on generated images."""
        ...

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """G's loss."""
        ...


class SoftmaxAdversarial:
    """The published adversarial loss: two-way softmax, real = 0 and fake = 1 (Nguyen et al. 2016, section 3.4)."""

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 2) of real and generated images, one tensor a head -> (loss on real, loss on fake)."""
        return self._against(real, 0), self._against(fake, 1)

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """Logits of generated images -> how little they are taken for real."""
        return self._against(fake, 0)

    @staticmethod
    def _against(logits: Sequence[Tensor], label: int) -> Tensor:
        losses = [F.cross_entropy(x, x.new_full((len(x),), label, dtype=torch.long)) for x in logits]
        return torch.stack(losses).mean()


class HingeAdversarial:
    """The hinge loss (Lim & Ye 2017) on one logit a position, averaged over heads."""

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, ...) of real and generated images, one tensor a head -> (loss on real, loss on fake)."""
        on_real = torch.stack([F.relu(1 - x).mean() for x in real]).mean()
        on_fake = torch.stack([F.relu(1 + x).mean() for x in fake]).mean()
        return on_real, on_fake

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """Logits of generated images -> how little they are taken for real."""
        return torch.stack([-x.mean() for x in fake]).mean()


class BalanceRule:
    """Freezes whichever network is too far ahead, by r = (L_D,real + L_D,fake) / L_G (DeePSiM's training code).

    r < `low`: the discriminator is frozen until r > `resume`. r > `high`: the generator is frozen until r < `low`.
    """

    def __init__(self, low: float = 0.1, resume: float = 0.5, high: float = 10.0) -> None:
        self.low, self.resume, self.high = low, resume, high
        self.train_discriminator = True
        self.train_generator = True

    def update(self, discriminator_loss: float, generator_loss: float) -> None:
        """Note the unweighted losses of a step and decide who trains in the next."""
        r = discriminator_loss / max(generator_loss, 1e-12)
        if r < self.low and self.train_discriminator:
            self.train_discriminator, self.train_generator = False, True
        if r > self.resume and not self.train_discriminator:
            self.train_discriminator = self.train_generator = True
        if r > self.high and self.train_generator:
            self.train_discriminator, self.train_generator = True, False

    def state_dict(self) -> dict[str, bool]:
        """Who trains at present."""
        return {"discriminator": self.train_discriminator, "generator": self.train_generator}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        """Go on from `state_dict`."""
        self.train_discriminator, self.train_generator = state["discriminator"], state["generator"]


def gradients(loss: Tensor, at: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """∂loss/∂at for each tensor, and the norm of all together, without consuming the graph."""
    found = list(torch.autograd.grad(loss, list(at), retain_graph=True, materialize_grads=True))
    return found, torch.stack([gradient.square().sum() for gradient in found]).sum().sqrt()
