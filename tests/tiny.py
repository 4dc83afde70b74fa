"""Networks small enough to differentiate by hand; frozen, seeded, the same for every test that asks alike.

Their matrix products are written as sums, which add up in the same order in a batch of any size. So whatever differs
between batches is the sampler's doing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppgn.contracts import Shape
from ppgn.networks.network import Network, Preprocessing

CODE_SHAPE: Shape = (5,)
IMAGE_SHAPE: Shape = (3, 4, 4)
PIXELS = 48
CLASSES = 4
SIDE = 16  # of what `reds` looks at


def weights(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A fixed Gaussian matrix, scaled by its number of columns."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.div(shape[-1] ** 0.5).to(dtype)


def matmul(weight: Tensor, x: Tensor) -> Tensor:
    """(n, m) times every row of (B, m) -> (B, n)."""
    return (x.unsqueeze(1) * weight).sum(dim=-1)


class TinyGenerator(nn.Module):
    """Codes (B, 5) -> images (B, 3, 4, 4) in (0, 1). Counts how often it draws."""

    code_shape = CODE_SHAPE
    signal_shape = IMAGE_SHAPE

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.register_buffer("inner", weights(seed, 7, 5, dtype=dtype))
        self.register_buffer("outer", 3 * weights(seed + 1, PIXELS, 7, dtype=dtype))
        self.calls = 0

    def forward(self, h: Tensor) -> Tensor:
        self.calls += 1
        hidden = torch.tanh(matmul(self.get_buffer("inner"), h))
        return torch.sigmoid(matmul(self.get_buffer("outer"), hidden)).view(-1, *IMAGE_SHAPE)


class TinyEncoder(nn.Module):
    """Images (B, 3, 4, 4) -> codes (B, 5), not negative, as behind a ReLU."""

    code_shape = CODE_SHAPE

    def __init__(self, seed: int = 10, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.register_buffer("weight", 4 * weights(seed, 5, PIXELS, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(matmul(self.get_buffer("weight"), x.flatten(1)))


class TinyCondition(nn.Module):
    """log p(class | x) of a linear classifier on images; `truncated` keeps the gradient through the class's logit."""

    def __init__(
        self, index: int, *, truncated: bool = False, seed: int = 20, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        self.register_buffer("weight", 8 * weights(seed, CLASSES, PIXELS, dtype=dtype))
        self.index = index
        self.truncated = truncated

    def logits(self, x: Tensor) -> Tensor:
        return matmul(self.get_buffer("weight"), x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        log_p: Tensor = logits.log_softmax(dim=1)[:, self.index]
        if not self.truncated:
            return log_p
        seeded = (1 - log_p.exp()).detach() * logits[:, self.index]
        return log_p.detach() + seeded - seeded.detach()


class LinearGenerator(nn.Module):
    """Codes (B, n) -> images (B, 3, H, W) = A h, without bounds."""

    def __init__(self, matrix: Tensor, signal_shape: Shape) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.code_shape: Shape = (matrix.shape[1],)
        self.signal_shape = signal_shape

    def forward(self, h: Tensor) -> Tensor:
        return matmul(self.get_buffer("matrix"), h).view(-1, *self.signal_shape)


class Likelihood(nn.Module):
    """log N(y; x, std² I) up to its constant: a condition that asks for the image y (3, H, W)."""

    def __init__(self, y: Tensor, std: float) -> None:
        super().__init__()
        self.register_buffer("y", y)
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        deviation: Tensor = (x - self.get_buffer("y")) / self.std
        return -0.5 * deviation.square().flatten(1).sum(dim=1)


def reds(name: str = "reds") -> Network:
    """Unit 0 of layer 1 is the red of 2x2 pixels, unit 1 the blue."""
    conv = nn.Conv2d(3, 2, 2, 2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0] = conv.weight[1, 2] = 0.25
    body = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(body, Preprocessing(SIDE), name=name)
