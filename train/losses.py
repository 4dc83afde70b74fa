"""The losses a generator is trained with (Nguyen et al. 2016, section 3.4; Dosovitskiy & Brox 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.shares import Share, mean


def image_loss(fake: Tensor, real: Tensor, power: float = 2.0) -> Tensor:
    """Mean |G(h) − x|^power over images (B, 3, H, W) in [0, 1]."""
    return (fake - real).abs().pow(power).mean()


def feature_loss(fake: Mapping[str, Tensor], real: Mapping[str, Tensor], *, relative: bool = True) -> Tensor:
    """Mean squared difference of feature maps (B, C, H, W), averaged over layers.

    `relative` divides each channel's error by that channel's variance in the real batch, over all processes, so that
    no layer and no channel outweighs the others by its scale alone; the published loss (pool5 of CaffeNet alone) does
    not.
    """
    losses = []
    for name, target in real.items():
        error = (fake[name] - target).square()
        if relative:
            variance = spread(target, (0, 2, 3) if target.dim() == 4 else (0,))
            error = error / (variance + 0.1 * variance.mean() + 1e-8)
        losses.append(error.mean())
    return torch.stack(losses).mean()


@torch.no_grad()
def spread(x: Tensor, over: Sequence[int]) -> Tensor:
    """The variance of rows (B, ...) along the dimensions `over`, which stay with length 1, over all processes."""
    centre = mean(x.mean(tuple(over), keepdim=True))
    count = Share.own().world * x.numel() // centre.numel()
    return mean((x - centre).square().mean(tuple(over), keepdim=True)) * (count / max(count - 1, 1))


class Adversarial:
    """What D and G play for, on logits of one tensor a head, averaged over heads."""

    def against(self, logits: Tensor, *, real: bool) -> Tensor:
        """D's loss on a head's logits of images that are real or not."""
        raise NotImplementedError

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of real and of generated images -> (D's loss on real, D's loss on generated ones)."""
        on_real = torch.stack([self.against(x, real=True) for x in real]).mean()
        return on_real, torch.stack([self.against(x, real=False) for x in fake]).mean()

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """Logits of generated images -> G's loss: how little they are taken for real."""
        return torch.stack([self.against(x, real=True) for x in fake]).mean()


class SoftmaxAdversarial(Adversarial):
    """The published loss on logits (B, 2): softmax, real = 0 and fake = 1 (Nguyen et al. 2016, section 3.4)."""

    def against(self, logits: Tensor, *, real: bool) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(logits, logits.new_full((len(logits),), 0 if real else 1, dtype=torch.long))


class HingeAdversarial(Adversarial):
    """The hinge loss (Lim & Ye 2017) on one logit a position, (B, ...)."""

    def against(self, logits: Tensor, *, real: bool) -> Tensor:
        """How far they lie on the wrong side of 1 or −1."""
        return F.relu(1 - logits if real else 1 + logits).mean()

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """The mean logit, negated."""
        return torch.stack([-x.mean() for x in fake]).mean()


class BalanceRule(nn.Module):
    """Freezes whichever network is too far ahead, by r = (L_D,real + L_D,fake) / L_G (DeePSiM's training code).

    r < `low`: the discriminator is frozen until r > `resume`. r > `high`: the generator is frozen until r < `low`.
    """

    train_discriminator: Tensor
    train_generator: Tensor

    def __init__(self, low: float = 0.1, resume: float = 0.5, high: float = 10.0) -> None:
        super().__init__()
        self.low, self.resume, self.high = low, resume, high
        self.register_buffer("train_discriminator", torch.tensor(True))
        self.register_buffer("train_generator", torch.tensor(True))

    def update(self, discriminator_loss: float, generator_loss: float) -> None:
        """Note the unweighted losses of a step and decide who trains in the next."""
        r = discriminator_loss / max(generator_loss, 1e-12)
        if r < self.low and self.train_discriminator:
            self.train_discriminator.fill_(False)
            self.train_generator.fill_(True)
        if r > self.resume and not self.train_discriminator:
            self.train_discriminator.fill_(True)
            self.train_generator.fill_(True)
        if r > self.high and self.train_generator:
            self.train_discriminator.fill_(True)
            self.train_generator.fill_(False)


def gradients(loss: Tensor, at: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """∂loss/∂at for each tensor, and the root mean square over processes of the norm of all, keeping the graph."""
    found = list(torch.autograd.grad(loss, list(at), retain_graph=True, materialize_grads=True))
    return found, mean(torch.stack([gradient.square().sum() for gradient in found]).sum()).sqrt()
