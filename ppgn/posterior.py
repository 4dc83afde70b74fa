"""p(h | y) ∝ p(h) · p(y | G(h)): a prior and a condition around one shared pass through the generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppgn.contracts import Condition, Evaluation, Generator, NoiseSource, Prior, Shape
from ppgn.errors import InputError

Transform = Callable[[Tensor, NoiseSource], Tensor]  # images (B, 3, H, W) -> views (V, B, 3, H, W)


@dataclass(frozen=True)
class Posterior:
    """What a sampler walks on: generator, prior and condition seen as one target (`contracts.Target`).

    `transform` puts random views in front of the condition, as `ppgn.samplers.views.Jitter` does; log p(y | x) is
    then its mean over the views. The networks must be frozen; raises `InputError` where one has trainable parameters.
    """

    generator: Generator
    prior: Prior
    condition: Condition
    transform: Transform | None = None

    def __post_init__(self) -> None:
        for name in ("generator", "prior", "condition"):
            part = getattr(self, name)
            if isinstance(part, nn.Module) and any(p.requires_grad for p in part.parameters()):
                raise InputError(f"the {name} has trainable parameters; freeze it first: .eval().requires_grad_(False)")

    @property
    def code_shape(self) -> Shape:
        """The shape of one code."""
        return self.generator.code_shape

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None) -> Evaluation:
        """Codes (B, *code_shape) -> their `Evaluation`, detached.

        G draws once; condition and prior read that same image. One backward pass gives the condition's gradient, the
        prior's residual is not differentiated. Raises `InputError` where a transform is set and `noise` is not given.
        """
        count = len(h)
        if count == 1 and h.device.type == "cpu":
            h = h.repeat(2, *[1] * (h.dim() - 1))  # convolutions round a lone image differently; nothing else does
        with torch.enable_grad():
            code = h.detach().requires_grad_(True)
            image = self.generator(code)
            log_condition = self._log_condition(image, noise)
            (gradient,) = torch.autograd.grad(log_condition.sum(), code)
        image = image.detach()
        with torch.no_grad():
            residual = self.prior.residual(h.detach(), image)
        return Evaluation(image[:count], log_condition.detach()[:count], gradient[:count], residual[:count])

    def _log_condition(self, image: Tensor, noise: NoiseSource | None) -> Tensor:
        """log p(y | x) of images (B, 3, H, W), (B,): the mean over their views, all views in one pass."""
        if self.transform is None:
            return self.condition(image)
        if noise is None:
            raise InputError("random views need random numbers: pass noise to evaluate, or build without transform")
        views = self.transform(image, noise)
        return self.condition(views.flatten(0, 1)).view(views.shape[:2]).mean(dim=0)
