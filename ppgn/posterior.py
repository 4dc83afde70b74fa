"""p(h | y) ∝ p(h) · p(y | G(h)): a prior and a condition around one shared pass through the generator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ppgn.contracts import (
    AnchoringPrior,
    Condition,
    DensityPrior,
    Evaluation,
    Generator,
    Jacobian,
    Known,
    NoiseConditionalPrior,
    NoiseSource,
    Prior,
    Shape,
)
from ppgn.errors import InputError
from ppgn.numerics.convolution import AlikeInAnyBatch

Transform = Callable[[Tensor, NoiseSource], Tensor]  # images (B, 3, H, W) -> views (V, B, 3, H, W)
Residual = Callable[[Tensor, Tensor], Tensor]  # codes and their signals -> R(h) − h
# Finds codes (N, *code_shape) in a prior's bank that suit a condition, and log p(y | G(h)) of each, (N,).
FindAnchors = Callable[[Generator, AnchoringPrior, Condition], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Posterior:
    """What a sampler walks on: generator, prior and condition seen as one target (`contracts.Target`).

    `transform` puts random views in front of the condition, as `ppgn.samplers.views.Jitter` does; log p(y | x) is
    then its mean over the views. `context` fills a hole: condition and prior see G(h) composited with what is known,
    and the log p that G(h) itself has under `context`, without views, adds to the condition's. A prior that offers
    `beside` reads what the condition's pass computes, unless random views stand in front of the condition. The networks
    must be frozen; raises `InputError` where one has trainable parameters.

    Source of the composite: PPGN (arXiv 1612.00005), Eq. 12 and its released inpainting.
    """

    generator: Generator
    prior: Prior
    condition: Condition
    transform: Transform | None = None
    context: Known | None = None
    sigma: float = 0.0
    jacobian: Jacobian = "gaussian"
    find_anchors: FindAnchors | None = None

    def __post_init__(self) -> None:
        if self.sigma:
            return  # made by `at`: the networks have been looked at
        for name in ("generator", "prior", "condition"):
            part = getattr(self, name)
            if isinstance(part, nn.Module) and any(p.requires_grad for p in part.parameters()):
                raise InputError(f"the {name} has trainable parameters; freeze it first: .eval().requires_grad_(False)")

    @property
    def code_shape(self) -> Shape:
        """The shape of one code."""
        return self.generator.code_shape

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels to walk by default, (low, high). Raises `InputError` where the prior knows none."""
        levels: tuple[float, ...] = getattr(self._noise_conditional, "span", self._noise_conditional.sigmas)
        return levels

    def at(self, sigma: float, jacobian: Jacobian = "gaussian") -> Posterior:
        """The target of codes with noise N(0, σ²) added, which G is shown denoised; see `contracts.Target.at`.

        Source of showing the denoised code: Ho et al. 2022 (arXiv 2204.03458), Chung et al. 2023 (arXiv 2209.14687).
        """
        prior = self._noise_conditional
        low, high = prior.sigmas
        if not low <= sigma <= high:
            known = f"the prior {self._prior_name} knows {low:g} to {high:g}"
            raise InputError(f"sigma is {sigma:g}; {known}; set sampler.sigma_max and sampler.sigma_min to that")
        return replace(self, prior=prior.at(sigma), sigma=sigma, jacobian=jacobian)

    @property
    def _noise_conditional(self) -> NoiseConditionalPrior:
        if not isinstance(self.prior, NoiseConditionalPrior):
            advice = "add prior=gaussian, or a denoiser of the model"
            raise InputError(f"sampler annealed needs a noise-conditional prior; {self._prior_name} is none; {advice}")
        return self.prior

    def anchors(self) -> tuple[Tensor, Tensor]:
        """Codes of photographs that suit the condition, and its log p of them; see `contracts.AnchoredTarget`."""
        return self._anchors

    @cached_property
    def _anchors(self) -> tuple[Tensor, Tensor]:
        prior = self.anchoring
        if self.find_anchors is None:
            raise InputError("this target has no way to find anchors; use sampler=annealed")
        return self.find_anchors(self.generator, prior, self.condition)

    def near(self, anchor: Tensor, spread: float) -> Posterior:
        """The target with the prior N(anchor, spread² I), anchors (B, *code_shape); see `contracts.AnchoredTarget`."""
        return replace(self, prior=self.anchoring.near(anchor, spread))

    @property
    def anchoring(self) -> AnchoringPrior:
        """The prior. Raises `InputError` where it has no anchors."""
        if not isinstance(self.prior, AnchoringPrior):
            advice = "add prior=bank where the model has one, or use sampler=annealed"
            raise InputError(f"sampler anchored needs anchors; the prior {self._prior_name} has none; {advice}")
        return self.prior

    def evaluate(self, h: Tensor, noise: NoiseSource | None = None, *, density: bool = False) -> Evaluation:
        """Codes (B, *code_shape) -> their `Evaluation`, detached; with `density` the prior's density as well.

        G draws once; condition and prior read that same signal. One backward pass gives the condition's gradient, the
        prior is differentiated only in `at(sigma, "exact")`. Raises `InputError` for a missing density or `noise`.
        """
        h = h.detach()
        with AlikeInAnyBatch() if h.device.type == "cpu" else nullcontext(), torch.enable_grad():
            code, drawn, residual = self._shown(h)
            image = self.generator(drawn)
            seen = image if self.context is None else self.context.composite(image)
            with self._beside(seen) as residual_of:
                log_condition = self._log_condition(seen, noise)
            if self.context is not None:
                log_condition = log_condition + self.context(image)
            (gradient,) = torch.autograd.grad(log_condition.sum(), code)
            if self.sigma and self.jacobian == "gaussian":
                gradient = gradient / (1 + self.sigma**2)
            image, seen = image.detach(), seen.detach()
            with torch.no_grad():
                residual = residual_of(h, seen) if residual is None else residual.detach()
                log_prior, score = self._density(h, seen) if density else (None, None)
        return Evaluation(image, log_condition.detach(), gradient, residual, log_prior, score)

    def _shown(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Codes -> what to differentiate by, what G is shown, and the prior's residual where that is known already."""
        if not self.sigma:
            code = h.clone().requires_grad_(True)
            return code, code, None
        nothing = h.new_empty(len(h), 0)
        if self.jacobian == "exact":
            code = h.clone().requires_grad_(True)
            residual = self.prior.residual(code, nothing)
            if not residual.requires_grad:
                raise InputError("jacobian=exact needs a prior that can be differentiated; use jacobian=gaussian")
            return code, code + residual, residual
        with torch.no_grad():
            residual = self.prior.residual(h, nothing)
        denoised = (h + residual).requires_grad_(True)
        return denoised, denoised, residual

    def _beside(self, image: Tensor) -> AbstractContextManager[Residual]:
        """While it is entered, the condition's pass of `image` is read by the prior, if it can -> its `residual`."""
        beside = getattr(self.prior, "beside", None)
        if beside is None or self.transform is not None:
            return nullcontext(self.prior.residual)
        reading: AbstractContextManager[Residual] = beside(self.condition, image)
        return reading

    def _density(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """log p(h), (B,), and its gradient, (B, *code_shape), if p(h | y) is a function of h."""
        if not isinstance(self.prior, DensityPrior):
            advice = "add prior=gaussian, or use sampler=ppgn"
            raise InputError(f"sampler mala needs a prior with a density; {self._prior_name} has none; {advice}")
        if self.transform is not None:
            raise InputError("sampler mala needs log p(y | x) itself, not random views of x; use views=0")
        return self.prior.log_prob(h), self.prior.score(h, image)

    def _log_condition(self, image: Tensor, noise: NoiseSource | None) -> Tensor:
        """log p(y | x) of signals (B, ...), (B,): the mean over their views, all views in one pass."""
        if self.transform is None:
            return self.condition(image)
        if noise is None:
            raise InputError("random views need random numbers: pass noise to evaluate, or use views=0")
        views = self.transform(image, noise)
        return self.condition(views.flatten(0, 1)).view(views.shape[:2]).mean(dim=0)

    @property
    def _prior_name(self) -> str:
        return type(self.prior).__name__.lower()
