"""Keep what is known of a picture: the likelihood of known pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ppgn.conditions.base import Condition
from ppgn.errors import InputError, check_known

LIKELIHOODS = ("gaussian", "laplace")
PIXEL_RANGE = 255.0  # of the images whose known pixels the published context term sums over


class Context(Condition):
    """Images (B, 3, H, W) in [0, 1] -> log p of their known pixels, (B,), up to a constant:

    weight · the mean over known pixels of −½ ((x − y) / std)² ("gaussian") or −|x − y| / std ("laplace"), so that its
    units do not depend on how many pixels are known.

    image: y, (N, 3, H, W) in [0, 1], with N = 1 for all rows alike or N = B; known: (N, 1, H, W), 1 where y is known,
    0 in the hole, anything between counts in proportion; weight: one for all rows, or (N,). Raises `InputError` where
    a row knows no pixel.

    It looks at pixels in their places: combined with another condition it keeps random views away from that as well; as
    `context` of a `Posterior` it does not.
    """

    image: Tensor
    known: Tensor
    weight: Tensor

    def __init__(
        self,
        image: Tensor,
        known: Tensor,
        *,
        std: float = 0.1,
        likelihood: str = "gaussian",
        weight: float | Tensor = 1.0,
    ) -> None:
        super().__init__()
        check_known("likelihood", likelihood, LIKELIHOODS)
        weights = torch.as_tensor(weight, dtype=image.dtype).expand(len(image))
        for name, values in (("std", torch.tensor([std])), ("weight", weights)):
            if not bool(((values > 0) & values.isfinite()).all()):
                raise InputError(f"context: {name} is {values.tolist()}; expected finite numbers above 0")
        expected = (len(image), 1, *image.shape[-2:])
        if image.shape[1:2] != (3,) or tuple(known.shape) != expected:
            shapes = f"image {tuple(image.shape)} and known {tuple(known.shape)}"
            raise InputError(f"context: {shapes}; expected (N, 3, H, W) and (N, 1, H, W)")
        if not bool((known.flatten(1).sum(1) > 0).all()):
            raise InputError("context: the hole covers the whole image; leave some pixels known")
        self.register_buffer("image", image.detach().clone())
        self.register_buffer("known", known.detach().to(image.dtype, copy=True))
        self.register_buffer("weight", weights.detach().clone())
        self.rows = len(image)
        self.std = float(std)
        self.likelihood = likelihood

    @classmethod
    def released(cls, image: Tensor, known: Tensor, epsilon4: float = 1e-9) -> Context:
        """The published context term, ε4 · −½ ‖known · (x − y)‖² on pixels in [0, 255].

        Source: the released code of PPGN (arXiv 1612.00005), Eq. 12, where ε2 = 1.
        """
        return cls(image, known, std=1.0, weight=epsilon4 * PIXEL_RANGE**2 * 3 * known.flatten(1).sum(1))

    @property
    def in_place(self) -> bool:
        """It compares pixel with pixel."""
        return True

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        deviation = (x - self.image) / self.std
        cost = deviation.abs() if self.likelihood == "laplace" else deviation.square() / 2
        mean = (cost * self.known).flatten(1).sum(1) / (3 * self.known.flatten(1).sum(1))
        return -self.weight * mean

    def composite(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> the same with the known pixels put in; the gradient passes the hole alone."""
        return x * (1 - self.known) + self.image * self.known


class Anything(Condition):
    """Asks for nothing: log p = 0 of every image, so that the prior, and the context if there is one, decide alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> zeros (B,), in the graph of x."""
        return x.flatten(1)[:, :0].sum(1)
