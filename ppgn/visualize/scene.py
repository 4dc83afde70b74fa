"""A generator whose layer is read and edited while a segmenter looks at what it draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.errors import InputError, check_known
from ppgn.visualize.segmentation import Segmenter

RESAMPLED = 1000  # times that the pictures are drawn anew for an interval of 95 %
RATE, PENALTY = 0.02, 0.005  # of the causal effect

Edit = Callable[[Tensor], Tensor]


def layer_of(generator: nn.Module, layer: str) -> nn.Module:
    """The module of a name inside a generator. Raises `InputError` where there is none."""
    modules: dict[str, nn.Module] = {name: module for name, module in generator.named_modules() if name}
    check_known("layer of the generator", layer, modules)
    return modules[layer]


class Scene:
    """A generator with one layer that can be read and edited, and the segmenter that looks at what it draws.

    Raises `InputError` for an unknown layer.
    """

    def __init__(self, generator: nn.Module, layer: str, segmenter: Segmenter) -> None:
        self.generator, self.module, self.segmenter = generator, layer_of(generator, layer), segmenter
        self.layer = layer

    @contextmanager
    def _hooked(self, hook: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        handle = self.module.register_forward_hook(lambda _module, _inputs, output: hook(output))
        try:
            yield
        finally:
            handle.remove()

    def draw(self, codes: Tensor, edit: Edit | None = None) -> Tensor:
        """Codes (B, ...) -> pictures (B, 3, H, W), drawn with the layer's values (B, K, h, w) as `edit` makes them."""
        with self._hooked(edit or (lambda values: None)):
            return cast(Tensor, self.generator(codes))

    @torch.no_grad()
    def read(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, ...) -> the layer's values (B, K, h, w) and the concept of each cell (B, S, S).

        Raises `InputError` for a layer that gives no such maps.
        """
        values: list[Tensor] = []
        with self._hooked(lambda output: values.append(output)):
            pictures = self.generator(codes)
        if not values or values[0].dim() != 4 or min(values[0].shape[2:]) < 2:
            raise InputError(f"layer '{self.layer}' of the generator has no places; give one that gives (K, h, w)")
        return values[0], self.segmenter(pictures).argmax(1)

    @torch.no_grad()
    def cells(self, codes: Tensor, edit: Edit | None = None, batch: int = 32) -> Tensor:
        """How many of the cells of each picture show each concept, (B, C)."""
        guesses = [self.segmenter(self.draw(part, edit)).argmax(1).flatten(1) for part in codes.split(batch)]
        return F.one_hot(torch.cat(guesses), len(self.segmenter.bias)).sum(1).float()


def without(units: Sequence[int], count: int) -> Edit:
    """Sets `units` of `count` to zero, everywhere."""
    keep = torch.ones(count)
    keep[list(units)] = 0
    return scaled(keep)


def scaled(factors: Tensor) -> Edit:
    """Multiplies every unit by its factor, (K,)."""
    return lambda values: values * factors[:, None, None]


def interval(before: Tensor, ours: Tensor, theirs: Tensor, seed: int = 0) -> tuple[float, float]:
    """95 % of the share that `ours` (N,) removes of what was `before`, beyond `theirs` (N,), by bootstrap."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(before), (RESAMPLED, len(before)), generator=draw)
    gained = (theirs[rows].sum(1) - ours[rows].sum(1)) / before[rows].sum(1).clamp_min(1)
    low, high = gained.quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def causal(
    scene: Scene, codes: Tensor, labels: Tensor, concept: int, start: Tensor, mean: Tensor, *, epochs: int, seed: int
) -> Tensor:
    """How much each unit causes a concept, α (K,) in [0, 1], from `start` (K,), by Adam on the codes that show it.

    Minimises the concept's probability where `labels` (N, S, S) have it, values times 1 − α, minus that in a random
    cell of the layer in which α of the units' `mean` (K,) under the concept stands, plus 0.005 ‖α‖². Raises
    `InputError` where none has it. Source: Bau et al. 2019 (arXiv 1811.10597), section 3.2.
    """
    alpha = (start.clamp_min(0) / start.max().clamp_min(1e-6)).clone().requires_grad_()
    optimizer, draw = torch.optim.Adam([alpha], RATE), torch.Generator().manual_seed(seed)
    rows = (labels == concept).flatten(1).any(1).nonzero()[:, 0]
    if not len(rows):
        raise InputError("no drawing shows the concept; give more drawings, or another concept")
    for _ in range(epochs):
        for some in rows[torch.randperm(len(rows), generator=draw)].split(16):
            there = (labels[some] == concept).float()
            spots = partial(spots_of, draw=draw)
            with torch.enable_grad():
                logits = scene.segmenter(scene.draw(codes[some], scaled(1 - alpha)))
                loss = (logits.softmax(1)[:, concept] * there).sum() / there.sum()
                placed: list[Tensor] = []
                edit = insertion(alpha, mean, spots, placed)
                logits = scene.segmenter(scene.draw(codes[some], edit))
                cells = F.interpolate(placed[0], there.shape[1:], mode="nearest")[:, 0]
                loss = loss - (logits.softmax(1)[:, concept] * cells).sum() / cells.sum()
                (slope,) = torch.autograd.grad(loss + PENALTY * alpha.square().sum(), alpha)
            alpha.grad = slope
            optimizer.step()
            with torch.no_grad():
                alpha.clamp_(0, 1)
    return alpha.detach()


def spots_of(values: Tensor, draw: torch.Generator) -> Tensor:
    """A random place of each map (B, K, h, w), 1 there and 0 elsewhere, (B, 1, h, w)."""
    count, _, height, width = values.shape
    spots = torch.zeros(count, height * width)
    spots[torch.arange(count), torch.randint(height * width, (count,), generator=draw)] = 1
    return spots.view(count, 1, height, width)


def insertion(alpha: Tensor, mean: Tensor, spots: Callable[[Tensor], Tensor], placed: list[Tensor]) -> Edit:
    """Puts α of a `mean` (K,) in at `spots`, which are noted in `placed`."""

    def edit(values: Tensor) -> Tensor:
        placed.append(spots(values))
        return values + placed[-1] * alpha[:, None, None] * (mean[:, None, None] - values)

    return edit
