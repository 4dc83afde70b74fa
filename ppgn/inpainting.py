"""Filling holes in photographs of any size: what a generator works on, the chains, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.conditions.context import Anything, Context
from ppgn.contracts import Condition, Generator, Info, NoiseConditionalPrior, Prior, State
from ppgn.encoders.features import FeatureEncoder
from ppgn.encoders.imputation import observe
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.blending import harmonic, poisson_blend
from ppgn.model import PPGN
from ppgn.priors.observed import Observed
from ppgn.samplers.ancestral import draw
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.chains import Callback as Watcher
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler

SURROUNDINGS = 2  # sides of the hole that a region is wide
EMPTY = 1e-6  # a pixel of which less is known counts as unknown
Fill = Literal["harmonic", "mean"]


@dataclass(frozen=True)
class Region:
    """A square of a picture, in its pixels, that may reach beyond the picture."""

    top: int
    left: int
    side: int

    @staticmethod
    def around(hole: Tensor) -> Region:
        """The square twice as wide as a hole (H, W), bool, around its middle, moved and shrunk into the picture.

        It takes in the whole hole and one pixel around it, if need be beyond the picture's edge.
        """
        height, width = hole.shape
        rows, columns = hole.any(dim=1).nonzero().flatten().tolist(), hole.any(dim=0).nonzero().flatten().tolist()
        longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        side = max(min(SURROUNDINGS * longest, height, width), longest + 2)
        return Region(_begin(rows, side, height), _begin(columns, side, width), side)

    def box(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Rows and columns of the part of it that lies in a picture of `shape` (H, W)."""
        bottom, right = min(self.top + self.side, shape[0]), min(self.left + self.side, shape[1])
        return slice(max(self.top, 0), bottom), slice(max(self.left, 0), right)

    def inside(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """The same part in the square's own rows and columns."""
        rows, columns = self.box(shape)
        return slice(rows.start - self.top, rows.stop - self.top), slice(
            columns.start - self.left, columns.stop - self.left
        )


def _begin(found: Sequence[int], side: int, length: int) -> int:
    """Where `side` pixels around the middle of `found` begin, within `length` pixels if they fit."""
    begin = (found[0] + found[-1] + 1 - side) // 2
    return min(max(begin, 0), length - side) if side <= length else (length - side) // 2


@dataclass(frozen=True)
class Problem:
    """A photo with a hole as a generator sees it: `image` (3, S, S') in [0, 1], the hole filled smoothly, and `known`
    (1, S, S'), the share of each pixel that is known. `photo` uint8 (3, H, W) and `hole` (H, W), bool, are full size.
    """

    photo: Tensor
    hole: Tensor
    region: Region
    image: Tensor
    known: Tensor

    @staticmethod
    def of(photo: Tensor, hole: Tensor, size: Sequence[int]) -> Problem:
        """Reduce the region around the hole to `size` (S, S'). Known pixels alone decide what the reduced ones are.

        What lies beyond the picture's edge is unknown too. Raises `InputError` for a hole of another size, none, or
        nothing else.
        """
        check_hole(hole, photo.shape[-2:])
        region = Region.around(hole)
        rows, columns = region.box(hole.shape)
        here = region.inside(hole.shape)
        known = torch.zeros(1, region.side, region.side)
        known[0][here] = (~hole[rows, columns]).float()
        square = torch.zeros(3, region.side, region.side)
        square[:, here[0], here[1]] = photo[:, rows, columns].float() / 255
        share = _resize(known, size)
        image = _resize(square * known, size) / share.clamp_min(EMPTY)
        share = torch.where(share < EMPTY, 0.0, share.clamp(0, 1))
        return Problem(photo, hole, region, harmonic(image.clamp(0, 1), share[0] == 0), share)

    @property
    def masked(self) -> Tensor:
        """The image with the mean of what is known of it in the hole, (3, S, S')."""
        mean = (self.image * self.known).sum((1, 2), keepdim=True) / self.known.sum()
        return self.image * self.known + mean * (1 - self.known)

    def complete(self, drawn: Tensor) -> Tensor:
        """The photo with the hole taken from `drawn` (3, S, S'), blended in, uint8 (3, H, W); the rest is untouched."""
        box, here = self.region.box(self.hole.shape), self.region.inside(self.hole.shape)
        square = _resize(drawn.float().cpu(), (self.region.side, self.region.side))
        part = self.photo[:, box[0], box[1]].float() / 255
        blended = poisson_blend(part, square[:, here[0], here[1]], self.hole[box])
        completed = self.photo.clone()
        within = completed[:, box[0], box[1]]
        within.copy_(torch.where(self.hole[box], images.to_uint8(blended), within))
        return completed


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """(C, H, W) -> (C, *size), bilinear, antialiased; weights are never negative."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image[None], tuple(size), mode="bilinear", antialias=True)[0]


def check_hole(hole: Tensor, shape: Sequence[int]) -> None:
    """Raise `InputError` unless a hole (H, W), bool, has the `shape` of the picture and leaves something to go by."""
    if tuple(hole.shape) != tuple(shape):
        sizes = f"the mask has {hole.shape[1]}x{hole.shape[0]} pixels, the image {shape[1]}x{shape[0]}"
        raise InputError(f"{sizes}; give a mask of the image's size")
    if not bool(hole.any()):
        raise InputError("the mask has no hole; paint what is to be filled white")
    if bool(hole.all()):
        raise InputError("the hole covers the whole image; leave some pixels known")


def check_imputations(count: object) -> None:
    """Raise `InputError` unless it can be how often a hole is filled to find out what the rest says."""
    if type(count) is not int or count < 0 or count == 1:
        raise InputError(f"imputations={count} cannot be used; expected 0 for none, or a whole number from 2 on")


@dataclass(frozen=True)
class Completions:
    """What chains drew into holes, a row each: G(h) float (N, 3, S, S'), its codes (N, *code_shape), and whether the
    chain stayed finite, bool (N,); all on the CPU.
    """

    drawn: Tensor
    codes: Tensor
    alive: Tensor


def complete(
    model: PPGN,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    *,
    sampler: Sampler,
    condition: Condition | None = None,
    context: Callable[[Tensor, Tensor], Context] = Context,
    fill: Fill = "harmonic",
    keep: float = 0.5,
    imputations: int = 32,
    prior: str | None = None,
    steps: int | None = None,
    callback: Watcher | None = None,
) -> Completions:
    """Walk one chain for each of the `problems` with the seed beside it, all in one batch.

    condition: what to draw; None leaves it to the context. context: makes the `Context` of image (N, 3, S, S') and
    known (N, 1, S, S'). fill: of the hole that E sees at the start. keep: a chain starts at keep · E(filled image) +
    √(1 − keep²) · z with z ~ N(0, I); 1 is the published start, less lets seeds differ and the hole be less smooth than
    its fill. imputations: how many draws from the prior are put into the hole to find out what the rest of the picture
    says of its code (`encoders.imputation`), which the prior is then told; 0 for none, as always where the sampler is
    not annealed or the codes are not whitened. prior: by default the one that suits the sampler best.

    Raises `InputError` for a `keep` outside [0, 1], for a number of imputations that cannot be, and where the model has
    no encoder.
    """
    check_imputations(imputations)
    if not 0 <= keep <= 1:
        raise InputError(f"keep is {keep}; expected 0 (the start is noise) to 1 (the code of the filled image)")
    image = torch.stack([problem.image for problem in problems]).to(model.device, model.dtype)
    known = torch.stack([problem.known for problem in problems]).to(model.device, model.dtype)
    start = image if fill == "harmonic" else torch.stack([problem.masked for problem in problems])
    transform = None if condition is None else sampler.transform
    suited = model.choose_prior(prior, sampler)
    target = model.posterior(condition or Anything(), prior=suited, transform=transform)
    target = replace(target, context=context(image, known))
    if imputations and isinstance(sampler, Annealed) and _whitens(model):
        target = replace(target, prior=_told(model, target.prior, problems, imputations))
    alive = torch.ones(len(problems), dtype=torch.bool)

    def watch(step: int, total: int, state: State, info: Info) -> bool | None:
        alive.copy_(state.alive)
        return None if callback is None else callback(step, total, state, info)

    noise = Noise(seeds, model.device, model.dtype)
    code = model.encode(start)
    samples = run_chains(
        [target],
        sampler,
        noise,
        steps=sampler.steps if steps is None else steps,
        init=keep * code + math.sqrt(1 - keep**2) * noise.normal("init", tuple(code.shape[1:])),
        callback=watch,
    )
    return Completions(model.decode(samples.codes).cpu(), samples.codes, alive)


def _whitens(model: PPGN) -> bool:
    return isinstance(model.encoder, FeatureEncoder) and model.encoder.dim is not None


def _told(model: PPGN, prior: Prior, problems: Sequence[Problem], imputations: int) -> Prior:
    """The prior that has been told, row by row, what the known part of each of the `problems` says of its code."""
    if not isinstance(prior, NoiseConditionalPrior):
        return prior  # the sampler will refuse it
    noise = Noise(range(-imputations, 0), model.device, model.dtype)  # no chain has such seeds
    fills = model.decode(draw(prior, cast(Generator, model.generator).code_shape, noise))
    said = {}
    for problem in {id(problem): problem for problem in problems}.values():
        image, hole = problem.image.to(fills), (problem.known[0] == 0).to(fills.device)
        said[id(problem)] = observe(model.encoder, image, hole, fills)
    rows = [said[id(problem)] for problem in (problems if len(said) > 1 else problems[:1])]
    precision, information = (torch.stack(part) for part in zip(*rows, strict=True))
    return Observed(prior, precision, information.to(fills))


def size_of(model: PPGN) -> tuple[int, int]:
    """The resolution (S, S') that a model draws at."""
    height, width = cast(Generator, model.generator).signal_shape[1:]
    return height, width
