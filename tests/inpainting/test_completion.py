"""The published inpainting against a plain transcription; regions, reductions and the way back against their rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ppgn import inpainting
from ppgn.conditions.context import Anything, Context
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting import Problem, Region
from ppgn.media.images import to_uint8
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
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
    return h[0]


@pytest.mark.parametrize(
    ("eps1", "eps4"), [(1e-5, 1e-9), (1e-5, 0.0), (0.3, 1e-5)], ids=["as published", "no context", "all matter"]
)
def test_codes_are_those_of_the_published_loop(eps1: float, eps4: float) -> None:
    sampler = Released(epsilon1=eps1, epsilon3=0.0, steps=20, lr_end=1e-32)
    if eps4 == 0:
        eps4 = 1e-30  # nothing, to all practical purposes
    completions = inpainting.complete(
        PPGN(TinyGenerator(), TinyEncoder()),
        [problem(0), problem(1)],
        [0, 0],
        sampler=sampler,
        condition=TinyCondition(2, truncated=True),
        context=lambda image, known: Context.released(image, known, eps4),
        fill="mean",
        keep=1.0,
    )
    for row in range(2):
        expected = published_inpainting(PHOTOS[row], TinyCondition(2), eps1=eps1, eps4=eps4, n_iters=20)
        torch.testing.assert_close(completions.codes[row], expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(completions.drawn, TinyGenerator()(completions.codes))
    assert completions.alive.tolist() == [True, True]


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
    both = inpainting.complete(model, [problem(0), problem(1)], [7, 7], **settings)
    alone = inpainting.complete(model, [problem(1)], [7], **settings)
    assert torch.equal(both.codes[1:], alone.codes)
    assert both.codes.shape == (2, *CODE_SHAPE)
    assert not torch.equal(both.codes[0], both.codes[1])


@pytest.mark.parametrize("keep", [0.0, 0.6, 1.0])
def test_the_start_is_part_photo_part_noise(keep: float) -> None:
    model = PPGN(TinyGenerator(), TinyEncoder())
    still = Langevin(epsilon1=0.0, epsilon2=0.0, epsilon3=0.0, steps=1)
    codes = inpainting.complete(model, [problem(0), problem(1)], [3, 4], sampler=still, keep=keep).codes
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
        found = inpainting.complete(model, problems, range(12), sampler=sampler, keep=0.0, imputations=imputations)
        errors.append(float((found.codes - model.encode(model.decode(codes))).square().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_a_row_that_is_told_does_not_depend_on_its_batch() -> None:
    model, settings = whitening_model(), {"sampler": Annealed(steps=3), "imputations": 4}
    problems = [problem(0), problem(1), problem(1)]
    together = inpainting.complete(model, problems, [7, 7, 8], **settings)  # type: ignore[arg-type]
    alone = inpainting.complete(model, problems[1:], [7, 8], **settings)  # type: ignore[arg-type]
    assert torch.equal(together.codes[1:], alone.codes)
    assert not torch.equal(together.codes[1], together.codes[2])


def test_shares_that_cannot_be() -> None:
    for count in (1, -3):
        with pytest.raises(InputError, match=rf"imputations={count} cannot be used; expected 0"):
            inpainting.complete(
                PPGN(TinyGenerator(), TinyEncoder()), [problem(0)], [0], sampler=Langevin(), imputations=count
            )
    with pytest.raises(InputError, match=r"keep is 1.1; expected 0"):
        inpainting.complete(PPGN(TinyGenerator(), TinyEncoder()), [problem(0)], [0], sampler=Langevin(), keep=1.1)


def rectangle(shape: tuple[int, int], top: int, left: int, height: int, width: int) -> Tensor:
    hole = torch.zeros(shape, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


@pytest.mark.parametrize(
    ("hole", "region"),
    [
        (rectangle((100, 200), 40, 90, 20, 20), Region(30, 80, 40)),
        (rectangle((100, 200), 0, 190, 10, 10), Region(0, 180, 20)),  # moved into the picture
        (rectangle((100, 200), 30, 60, 40, 70), Region(0, 45, 100)),  # shrunk to its height
        (rectangle((100, 200), 20, 30, 60, 140), Region(-21, 29, 142)),  # beyond it, so that the hole fits
        (rectangle((64, 64), 16, 16, 32, 32), Region(0, 0, 64)),
    ],
)
def test_regions(hole: Tensor, region: Region) -> None:
    assert Region.around(hole) == region


def test_known_pixels_alone_decide_what_a_reduced_image_shows() -> None:
    hole = rectangle((90, 130), 25, 30, 37, 41)
    photo = torch.full((3, 90, 130), 51, dtype=torch.uint8)
    photo[:, hole] = 255
    reduced = Problem.of(photo, hole, (16, 16))
    torch.testing.assert_close(reduced.image, torch.full((3, 16, 16), 0.2), rtol=0, atol=1e-3)
    torch.testing.assert_close(reduced.masked, torch.full((3, 16, 16), 0.2), rtol=0, atol=1e-3)
    side = reduced.region.side
    share = reduced.known.sum().item() / 256
    assert share == pytest.approx(1 - 37 * 41 / side**2, abs=0.03)


@pytest.mark.parametrize("hole", [rectangle((90, 130), 25, 30, 37, 41), rectangle((40, 130), 5, 0, 30, 128)])
def test_only_the_hole_changes_and_no_seam_shows(hole: Tensor) -> None:
    photo = torch.randint(100, 104, (3, *hole.shape), dtype=torch.uint8)
    before = photo.clone()
    completed = Problem.of(photo, hole, (16, 16)).complete(torch.full((3, 16, 16), 0.9))
    assert torch.equal(completed[:, ~hole], before[:, ~hole])
    assert torch.equal(photo, before)
    # A flat drawing has no gradient to give: the colours around continue.
    assert completed[:, hole].min() >= 99
    assert completed[:, hole].max() <= 104


@pytest.mark.parametrize(
    ("hole", "message"),
    [
        (torch.ones(4, 5, dtype=torch.bool), "the mask has 5x4 pixels, the image 4x4; give a mask of the image's size"),
        (torch.zeros(4, 4, dtype=torch.bool), "the mask has no hole"),
        (torch.ones(4, 4, dtype=torch.bool), "the hole covers the whole image"),
    ],
)
def test_holes_that_cannot_be(hole: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Problem.of(PHOTOS[0], hole, (4, 4))
