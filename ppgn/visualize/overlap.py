"""How the masks of units overlap those of concepts, and how much of that is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.visualize.concepts import LEAST, Concepts

IOU = 0.04  # above which a unit is called a detector, as published
SHARE = 0.005  # of all places at which a unit exceeds its threshold
CHANCE = 0.99  # the quantile of a unit's best IoU under permuted labels that a detector exceeds
LINEAR = (0.4, 0.25)  # values below minus the first, and negatives that weigh so much of the positives: no rectifier

Turn = Callable[[Tensor], Tensor]


def thresholds(activations: Tensor, share: float = SHARE, turn: Turn | None = None) -> Tensor:
    """Activations (N, K, h, w) -> T (K,) with P(a > T) = `share` over all places of all pictures, exactly."""
    keep = max(1, int(share * activations[:, 0].numel())) + 1
    top = torch.zeros(activations.shape[1], 0)
    for part in activations.split(32):
        values = (turn(part) if turn else part).transpose(0, 1).flatten(1)
        top = torch.cat([top, values], dim=1)
        top = top.topk(min(keep, top.shape[1])).values
    return top[:, -1]


def rotation(units: int, seed: int = 0) -> Turn:
    """A random rotation of the units, the same at all places: (B, K, h, w) -> (B, K, h, w)."""
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(units, units, generator=draw))
    q = q * r.diagonal().sign()
    return lambda values: torch.einsum("bkhw,jk->bjhw", values, q)


def linear(activations: Tensor) -> bool:
    """Whether a layer lies behind no rectifier, so that no unit is a preferred axis: large negative values weigh."""
    negative, positive = -activations.clamp(max=0).mean(), activations.clamp(min=0).mean()
    return bool(activations.min() < -LINEAR[0]) and bool(negative > LINEAR[1] * positive)


@dataclass(frozen=True)
class Overlap:
    """How units and concepts overlap: IoU (K, C), -1 of concepts that are not counted, and what chance gives.

    `thresholds` (K,); `permuted` (R, K) is the best IoU of each unit with the labels exchanged among pictures of one
    kind, R times, and `permuted_labels` (R, K) the concept.
    """

    iou: Tensor
    thresholds: Tensor
    permuted: Tensor
    permuted_labels: Tensor

    @property
    def best(self) -> Tensor:
        """The best IoU of each unit, (K,)."""
        return self.iou.amax(1)

    @property
    def labels(self) -> Tensor:
        """The concept of each unit, (K,)."""
        return self.iou.argmax(1)

    @property
    def chance(self) -> Tensor:
        """The 99th percentile of the best IoU of each unit under permutation, (K,)."""
        return self.permuted.quantile(CHANCE, dim=0)

    @property
    def detectors(self) -> Tensor:
        """Which units are detectors: above 0.04 and above their own chance, (K,)."""
        return (self.best > IOU) & (self.best > self.chance)

    def counts(self) -> dict[str, float]:
        """Detectors and unique concepts: by IoU alone, with permuted labels, and beyond chance."""
        above, beyond = self.best > IOU, self.detectors
        by_chance = [
            row[value > IOU].unique().numel() for row, value in zip(self.permuted_labels, self.permuted, strict=True)
        ]
        return {
            "detectors": int(above.sum()),
            "unique": self.labels[above].unique().numel(),
            "detectors_permuted": float((self.permuted > IOU).sum(1).float().mean()),
            "unique_permuted": sum(by_chance) / max(1, len(by_chance)),
            "detectors_beyond_chance": int(beyond.sum()),
            "unique_beyond_chance": self.labels[beyond].unique().numel(),
        }


def counted(concepts: Concepts, least: dict[str, int] | None = None) -> Tensor:
    """Which concepts have enough pictures, boolean (C,)."""
    need = LEAST | (least or {})
    pictures = torch.zeros(len(concepts.names), dtype=torch.long)
    for labels in concepts.labels:
        present = labels.unique().long()
        pictures[present[present >= 0]] += 1
    return torch.tensor([int(n) >= need[kind] for n, kind in zip(pictures, concepts.categories, strict=True)])


def overlap(
    activations: Tensor,
    concepts: Concepts,
    counts: Tensor,
    *,
    share: float = SHARE,
    permutations: int = 100,
    turn: Turn | None = None,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Overlap:
    """Activations (N, K, h, w) of a pack's pictures -> the overlap of each unit's mask with each concept.

    A mask is where the map, enlarged bilinearly to the labels' size, exceeds its threshold. The union counts the mask
    on pictures that carry any label of the concept's category. `counts` (C,) says which concepts are counted. One
    matrix product a picture tallies all units, concepts and permutations. Source: Bau et al. 2017 (arXiv 1704.05796),
    section 2; the two tests are its rotation of the basis and a permutation of labels.
    """
    limit = thresholds(activations, share, turn)
    units, total, rounds = len(limit), len(concepts.names), permutations + 1
    side = concepts.labels.shape[-1]
    hot = [_one_hot(labels, counts) for labels in concepts.labels]
    orders = _orders(concepts.kinds, permutations, seed)  # (R + 1, N), the first as it is
    both = torch.zeros(units, rounds * total)
    lit = torch.zeros(units, len(LEAST))  # pixels of the mask on pictures that carry a category
    area = torch.zeros(total)
    kind = torch.tensor([list(LEAST).index(name) for name in concepts.categories])
    for picture in progress(range(len(concepts))):
        present, _ = hot[picture]
        area[present] += hot[picture][1].sum(0)
        values = activations[picture : picture + 1]
        values = turn(values) if turn else values
        active = (values[0].amax((1, 2)) > limit).nonzero()[:, 0]
        if not len(active):
            continue
        enlarged = F.interpolate(values[:, active], (side, side), mode="bilinear", align_corners=False)
        mask = (enlarged[0] > limit[active, None, None]).flatten(1).float()
        labels = concepts.labels[picture]
        carried = kind[labels[labels >= 0].long()].unique()  # the categories of which the picture has a label
        lit[active[:, None], carried] += mask.sum(1, keepdim=True)
        chosen = [hot[row] for row in orders[:, picture].tolist()]
        columns = torch.cat([ids + number * total for number, (ids, _) in enumerate(chosen)])
        both[active[:, None], columns] += mask @ torch.cat([pixels for _, pixels in chosen], dim=1).float()
    inter = both.view(units, rounds, total)
    union = (lit[:, kind] + area)[:, None] - inter
    iou = torch.where(counts, inter / union.clamp_min(1), -1.0)
    permuted = iou[:, 1:].max(2)
    return Overlap(iou[:, 0].clone(), limit, permuted.values.T.contiguous(), permuted.indices.T.contiguous())


def _one_hot(labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (L, S, S) -> the counted concepts that are present, and where, boolean (S·S, present)."""
    present = labels.unique().long()
    present = present[present >= 0]
    present = present[counts[present]]
    return present, (labels.flatten(1)[:, :, None] == present).any(0)


def _orders(kinds: Tensor, permutations: int, seed: int) -> Tensor:
    """Rows in order, then `permutations` times exchanged within each kind: (permutations + 1, N)."""
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.arange(len(kinds))]
    for _ in range(permutations):
        order = torch.arange(len(kinds))
        for kind in kinds.unique():
            own = (kinds == kind).nonzero()[:, 0]
            order[own] = own[torch.randperm(len(own), generator=draw)]
        rows.append(order)
    return torch.stack(rows)


def best_of(overlap: Overlap, categories: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """The best IoU and concept of each unit in each category, (K,) each."""
    found = {}
    for name in LEAST:
        own = torch.tensor([category == name for category in categories])
        if own.any():
            best = overlap.iou.masked_fill(~own, -1).max(1)
            found[name] = (best.values, best.indices)
    return found
