"""A segmenter for pictures without labels: a linear probe on the features of a network, fitted on named pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.networks.network import Network
from ppgn.visualize.concepts import Concepts

LAYERS = ("blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.6")
PIXELS = 48  # of each picture that the probe is fitted on
STEPS, BATCH, RATE, DECAY = 800, 4096, 0.01, 1e-4
HELD_OUT = 2  # every so many-th picture, in random order, measures the probe

Bar = Callable[[Iterable[int]], Iterable[int]]


class Segmenter(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits of concepts at side x side places, (B, C, side, side).

    A 1x1 convolution of every layer, enlarged bilinearly and added up: what one of the enlarged layers would give.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, network: Network, layers: Sequence[str], weight: Tensor, bias: Tensor, side: int) -> None:
        super().__init__()
        self.network, self.layers, self.side = network, tuple(layers), side
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Differentiable with respect to the images."""
        found, start = self.bias[None, :, None, None], 0
        for values in self.network.features(x, self.layers).values():
            part = self.weight[:, start : start + values.shape[1], None, None]
            start += values.shape[1]
            found = found + _enlarged(F.conv2d(values, part), self.side)
        return found


def _enlarged(values: Tensor, side: int) -> Tensor:
    return F.interpolate(values, (side, side), mode="bilinear", align_corners=False)


def commonest(concepts: Concepts, count: int) -> list[int]:
    """The objects with most pixels, by place in `names`. Raises `InputError` for fewer than there should be."""
    labels = concepts.labels[:, 0].flatten().long()
    pixels = torch.bincount(labels[labels >= 0], minlength=len(concepts.names))
    found = pixels.argsort(descending=True)[:count].tolist()
    if count < 2 or int(pixels[found[-1]]) == 0 or len(found) < count:
        raise InputError(f"{count} concepts for the segmenter; '{concepts.root}' has {int((pixels > 0).sum())} objects")
    return found


def fit(
    network: Network,
    concepts: Concepts,
    wanted: Sequence[int],
    layers: Sequence[str] = LAYERS,
    *,
    pixels: int,
    seed: int = 0,
    bar: Bar = iter,
) -> tuple[Segmenter, Tensor, Tensor]:
    """Fit a probe of the concepts `wanted` on pictures reduced to `pixels` -> it, its IoU (C,), held-out rows.

    Multinomial logistic regression by Adam on standardised features. IoU is over the held-out pictures' pixels that
    have one of these labels; a concept without such has none, NaN.
    """
    side, draw = concepts.labels.shape[-1], torch.Generator().manual_seed(seed)
    place = torch.full((len(concepts.names) + 1,), -1)
    place[list(wanted)] = torch.arange(len(wanted))
    targets = place[concepts.labels[:, 0].long()].flatten(1)  # -1 is last: none
    rows = torch.randperm(len(concepts), generator=draw)
    rows = rows[(targets[rows] >= 0).any(1)]
    held, train = rows[::HELD_OUT], rows[torch.arange(len(rows)) % HELD_OUT != 0]
    x, y = [], []
    for start in bar(range(0, len(train), 16)):
        some = train[start : start + 16]
        with torch.no_grad():
            values = network.features(reduced(concepts.pictures[some], pixels), layers).values()
            flat = torch.cat([_enlarged(value, side).flatten(2) for value in values], dim=1)
        for features, target in zip(flat, targets[some], strict=True):
            known = (target >= 0).nonzero()[:, 0]
            known = known[torch.randperm(len(known), generator=draw)[:PIXELS]]
            x.append(features[:, known].T.clone())
            y.append(target[known])
    features, answers = torch.cat(x), torch.cat(y)
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    weight = torch.zeros(len(wanted), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(wanted), requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(features), (BATCH,), generator=draw)
        with torch.enable_grad():
            logits = F.linear((features[some] - mean) / deviation, weight, bias)
            loss = F.cross_entropy(logits, answers[some])
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        schedule.step()
    weight = weight.detach() / deviation
    found = Segmenter(network, layers, weight, bias.detach() - weight @ mean, side)
    counts = torch.zeros(len(wanted), len(wanted))
    for start in bar(range(0, len(held), 16)):
        some = held[start : start + 16]
        with torch.no_grad():
            guess = found(reduced(concepts.pictures[some], pixels)).argmax(1).flatten()
        truth = targets[some].flatten()
        known = truth >= 0
        pairs = truth[known] * len(wanted) + guess[known]
        counts += torch.bincount(pairs, minlength=len(wanted) ** 2).view(len(wanted), -1)
    both = counts.diagonal()
    return found, both / (counts.sum(0) + counts.sum(1) - both), held


def reduced(pictures: Tensor, pixels: int) -> Tensor:
    """Pictures uint8 (N, 3, S, S) -> (N, 3, pixels, pixels) in [0, 1]."""
    size = (pixels, pixels)
    return F.interpolate(pictures.float() / 255, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
