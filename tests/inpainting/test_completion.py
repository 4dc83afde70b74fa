"""The published inpainting against a plain transcription; regions, reductions and the way back against their rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppgn.conditions.base import Condition
from ppgn.conditions.context import Anything, Context
from ppgn.conditions.rows import each_row
from ppgn.contracts import Samples
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting import completion, regression
from ppgn.inpainting.problem import Problem
from ppgn.inpainting.settings import Settings
from ppgn.media.images import to_uint8
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.posterior import Posterior
from ppgn.priors.bank import Bank
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.noise import Noise
from ppgn.samplers.published import Released
from ppgn.samplers.views import Jitter
from tests.tiny import CODE_SHAPE, TinyCondition, TinyEncoder, TinyGenerator

PHOTOS = torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
HOLE = torch.zeros(4, 4, dtype=torch.bool)
HOLE[1:3, 1:3] = True
CODES = torch.linspace(-1.5, 1.5, 15, dtype=torch.float64).view(3, 5)


@dataclass(frozen=True, kw_only=True)
class Weighed(Settings):
    """The published context term with a weight of its own."""

    epsilon4: float = 1e-9

    def context(self, image: Tensor, known: Tensor) -> Context:
        return Context.released(image, known, self.epsilon4)


def complete(
    model: PPGN, problems: Any, seeds: Any, *, condition: Any = None, kind: Any = Settings, **settings: Any
) -> Samples:
    return completion.complete(model, problems, seeds, kind(**{"keep": 0.5, **settings}), condition=condition)


def problem(row: int) -> Problem:
    """A photo in which the tiny generator's whole image is the region."""
    return Problem.of(PHOTOS[row], HOLE, (4, 4))


def published_inpainting(photo: Tensor, condition: TinyCondition, *, eps1: float, eps4: float, n_iters: int) -> Tensor:
    """The code after the published loop, in its units: pixels in [0, 255] less their mean, mask 1 in the hole."""
    generator, encoder = TinyGenerator(), TinyEncoder()
    mask = HOLE.double()
    known = 1 - mask
    mean = (photo * known).sum((1, 2), keepdim=True) / known.sum()
    context = (photo.double() - mean) * known  # the hole shows the mean colour
    h = encoder(((context + mean) / 255)[None])
    for i in range(n_iters):
        lr = 1 + (1e-32 - 1) * i / n_iters
        h = h.detach().requires_grad_()
        raw = 255 * generator(h) - mean
        composite = (raw * mask + context).detach().requires_grad_()
        seen = (composite + mean) / 255
        d_prior = encoder(seen.detach()) - h.detach()
        logits = condition.logits(seen)
        p = torch.softmax(logits, dim=1)[0]
        seed = torch.zeros_like(logits)
        seed[0, condition.index] = 1 - p[condition.index].detach()
        (at_image,) = torch.autograd.grad(logits, composite, grad_outputs=seed)
        (d_cond,) = torch.autograd.grad(raw, h, grad_outputs=at_image * mask, retain_graph=True)
        (d_context,) = torch.autograd.grad(raw, h, grad_outputs=((context - raw) * known).detach())
        d = eps1 * d_prior + d_cond + eps4 * d_context
        h = (h.detach() + lr * d / d.abs().mean()).clip(0, 30)
    code: Tensor = h[0]
    return code


@pytest.mark.parametrize(
    ("eps1", "eps4"), [(1e-5, 1e-9), (1e-5, 0.0), (0.3, 1e-5)], ids=["as published", "no context", "all matter"]
)
def test_codes_are_those_of_the_published_loop(eps1: float, eps4: float) -> None:
    sampler = Released(epsilon1=eps1, epsilon3=0.0, steps=20, lr_end=1e-32)
    if eps4 == 0:
        eps4 = 1e-30  # nothing, to all practical purposes
    completions = complete(
        PPGN(TinyGenerator(), TinyEncoder()),
        [problem(0), problem(1)],
        [0, 0],
        sampler=sampler,
        condition=TinyCondition(2, truncated=True),
        kind=Weighed,
        epsilon4=eps4,
        fill="mean",
        keep=1.0,
    )
    for row in range(2):
        expected = published_inpainting(PHOTOS[row], TinyCondition(2), eps1=eps1, eps4=eps4, n_iters=20)
        torch.testing.assert_close(completions.codes[row], expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(completions.signals, TinyGenerator()(completions.codes))
    assert completions.failed == ()


def test_the_context_term_matters_in_the_last_case() -> None:
    with_it, without = (
        published_inpainting(PHOTOS[0], TinyCondition(2), eps1=0.3, eps4=eps4, n_iters=20) for eps4 in (1e-5, 0.0)
    )
    assert (with_it - without).abs().max() > 1e-2


def test_condition_and_prior_see_the_composite_and_the_context_sees_the_drawing() -> None:
    generator, encoder, condition = TinyGenerator(), TinyEncoder(), TinyCondition(1)
    image, known = problem(0).image[None].double(), problem(0).known[None].double()
    context = Context(image, known)
    target = Posterior(generator, Joint(encoder), condition, context=context)
    evaluation = target.evaluate(CODES)
    drawn = generator(CODES)
    composite = torch.where(HOLE, drawn, image)
    torch.testing.assert_close(evaluation.image, drawn)
    torch.testing.assert_close(evaluation.prior_residual, encoder(composite) - CODES)
    torch.testing.assert_close(evaluation.log_condition, condition(composite) + context(drawn))
    step = 1e-6
    for k in range(5):
        nudge = step * torch.eye(5, dtype=torch.float64)[k]
        up, down = (target.evaluate(CODES + sign * nudge).log_condition for sign in (1, -1))
        torch.testing.assert_close(evaluation.condition_grad[:, k], (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


def test_random_views_are_in_front_of_the_condition_alone() -> None:
    noise = Noise([1, 2, 3], dtype=torch.float64)
    context = Context(problem(0).image[None].double(), problem(0).known[None].double())
    jitter = Jitter(views=2, shift=0.3, zoom=1.5)
    evaluation = Posterior(TinyGenerator(), Gaussian(), Anything(), jitter, context).evaluate(CODES, noise)
    assert torch.equal(evaluation.log_condition, context(TinyGenerator()(CODES)))


def test_a_row_does_not_depend_on_its_batch() -> None:
    model = PPGN(TinyGenerator(), TinyEncoder())
    settings: dict[str, Any] = {"sampler": Langevin(steps=4), "condition": TinyCondition(0)}
    both = complete(model, [problem(0), problem(1)], [7, 7], **settings)
    alone = complete(model, [problem(1)], [7], **settings)
    assert torch.equal(both.codes[1:], alone.codes)
    assert both.codes.shape == (2, *CODE_SHAPE)
    assert not torch.equal(both.codes[0], both.codes[1])


@pytest.mark.parametrize("keep", [0.0, 0.6, 1.0])
def test_the_start_is_part_photo_part_noise(keep: float) -> None:
    model = PPGN(TinyGenerator(), TinyEncoder())
    still = Langevin(epsilon1=0.0, epsilon2=0.0, epsilon3=0.0, steps=1)
    codes = complete(model, [problem(0), problem(1)], [3, 4], sampler=still, keep=keep).codes
    encoded = TinyEncoder()(torch.stack([problem(0).image, problem(1).image]).double())
    z = Noise([3, 4], dtype=torch.float64).normal("init", CODE_SHAPE)
    torch.testing.assert_close(codes, keep * encoded + (1 - keep**2) ** 0.5 * z)


def whitening_model() -> PPGN:
    """The tiny generator with an encoder that reads every 2x2 pixels on their own, fitted on its drawings."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2))
    encoder = FeatureEncoder(Network(body, Preprocessing(size=4), name="tiny"), ["0"], pool=0, dim=5)
    generator = TinyGenerator(dtype=torch.float32)
    encoder.fit([generator(torch.randn(200, *CODE_SHAPE))])
    return PPGN(generator, encoder)


def test_a_noise_conditional_prior_is_told_what_the_rest_says_of_the_code() -> None:
    model, corner = whitening_model(), torch.zeros(4, 4, dtype=torch.bool)
    corner[2:, 2:] = True
    codes = torch.randn(12, *CODE_SHAPE, generator=torch.Generator().manual_seed(1))
    problems = [Problem.of(photo, corner, (4, 4)) for photo in to_uint8(model.decode(codes))]
    sampler = Annealed(steps=12, epsilon2=0.0)
    errors = []
    for imputations in (0, 16):
        found = complete(model, problems, range(12), sampler=sampler, keep=0.0, imputations=imputations)
        errors.append(float((found.codes - model.encode(model.decode(codes))).square().mean()))
    assert errors[1] < 0.5 * errors[0]


@pytest.fixture
def anchoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PPGN:
    """The whitening model with a bank of codes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(regression, "RIDGE", 1.0)
    bank = Bank(CODE_SHAPE, 300, sigma=0.5)
    bank.fit(torch.randn(300, *CODE_SHAPE, generator=torch.Generator().manual_seed(5)))
    model = whitening_model()
    return PPGN(model.generator, model.encoder, {"bank": bank})


def test_anchors_go_with_the_rest_of_the_picture_and_with_the_condition(anchoring: PPGN) -> None:
    codes = torch.randn(12, *CODE_SHAPE, generator=torch.Generator().manual_seed(1))
    problems = [Problem.of(photo, HOLE, (4, 4)) for photo in to_uint8(anchoring.decode(codes))]
    errors = []
    for sampler in (Annealed(steps=12, epsilon2=0.0), Anchored(steps=1, epsilon2=0.0, spread=0.01, variety=1.0)):
        found = complete(anchoring, problems, range(12), sampler=sampler, keep=0.0, imputations=0)
        errors.append(float((found.codes - anchoring.encode(anchoring.decode(codes))).square().mean()))
    assert errors[1] < 0.5 * errors[0]

    condition, still = TinyCondition(2, dtype=torch.float32), Anchored(steps=1, epsilon2=0.0, spread=0.01)
    asked, unasked = (
        complete(anchoring, problems[:1] * 8, range(8), sampler=still, condition=c) for c in (condition, None)
    )
    assert condition(asked.signals).mean() > condition(unasked.signals).mean()


class Likes(Condition):
    """`TinyCondition`, one that can stand in a row."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.inner = TinyCondition(index, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return found


def test_a_row_that_is_anchored_does_not_depend_on_its_batch(anchoring: PPGN) -> None:
    given: dict[str, Any] = {"sampler": Anchored(steps=3)}
    asked = [Likes(k) for k in (0, 1, 1)]
    problems = [problem(0), problem(1), problem(1)]
    together = complete(anchoring, problems, [7, 7, 8], condition=each_row(asked), **given)
    alone = complete(anchoring, problems[1:], [7, 8], condition=asked[1], **given)
    assert torch.equal(together.codes[1:], alone.codes)
    assert not torch.equal(together.codes[1], together.codes[2])


def test_anchors_need_a_prior_that_has_some() -> None:
    with pytest.raises(InputError, match="sampler anchored needs anchors; the prior gaussian has none"):
        complete(whitening_model(), [problem(0)], [0], sampler=Anchored())


def test_a_row_that_is_told_does_not_depend_on_its_batch() -> None:
    model, settings = whitening_model(), {"sampler": Annealed(steps=3), "imputations": 4}
    problems = [problem(0), problem(1), problem(1)]
    together = complete(model, problems, [7, 7, 8], **settings)
    alone = complete(model, problems[1:], [7, 8], **settings)
    assert torch.equal(together.codes[1:], alone.codes)
    assert not torch.equal(together.codes[1], together.codes[2])


def test_shares_that_cannot_be() -> None:
    for count in (1, -3):
        with pytest.raises(InputError, match=rf"imputations={count} cannot be used; expected 0"):
            complete(PPGN(TinyGenerator(), TinyEncoder()), [problem(0)], [0], sampler=Langevin(), imputations=count)
    with pytest.raises(InputError, match=r"keep=1.1 cannot be used; expected 0"):
        complete(PPGN(TinyGenerator(), TinyEncoder()), [problem(0)], [0], sampler=Langevin(), keep=1.1)
