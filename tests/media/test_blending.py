from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ppgn.errors import InputError
from ppgn.media.blending import harmonic, poisson_blend


def dense(values: Tensor, hole: Tensor) -> Tensor:
    """Δu = 0 in the hole, one equation for each of its pixels, solved as a dense system."""
    pixels = hole.nonzero().tolist()
    number = {tuple(pixel): k for k, pixel in enumerate(pixels)}
    matrix, right = np.zeros((len(pixels), len(pixels))), np.zeros((len(pixels), len(values)))
    for k, (i, j) in enumerate(pixels):
        for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if 0 <= near[0] < hole.shape[0] and 0 <= near[1] < hole.shape[1]:
                matrix[k, k] += 1
                if near in number:
                    matrix[k, number[near]] -= 1
                else:
                    right[k] += values[:, near[0], near[1]].numpy()
    filled = values.clone()
    filled[:, hole] = torch.from_numpy(np.linalg.solve(matrix, right).T)
    return filled


def disc(height: int, width: int, middle: tuple[int, int], radius: float) -> Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    return (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2


@pytest.mark.parametrize(
    "hole",
    [disc(40, 52, (20, 26), 12), disc(40, 52, (0, 50), 15), disc(40, 52, (9, 9), 5) | disc(40, 52, (30, 40), 7)],
    ids=["inside", "at a corner", "two"],
)
def test_the_fill_solves_the_laplace_equation(hole: Tensor) -> None:
    values = torch.rand(2, 40, 52, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    filled = harmonic(values, hole, tolerance=1e-8)
    torch.testing.assert_close(filled, dense(values, hole), rtol=0, atol=1e-3)
    assert torch.equal(filled[:, ~hole], values[:, ~hole])


def test_a_plane_is_continued_even_through_a_large_hole() -> None:
    plane = torch.linspace(0, 1, 400)[None, :, None].expand(1, 400, 600).clone()
    hole = disc(400, 600, (200, 300), 150)
    spoilt = torch.where(hole, 5.0, plane)
    torch.testing.assert_close(harmonic(spoilt, hole), plane, rtol=0, atol=2e-3)


def test_blending_takes_the_gradients_of_the_drawing_and_the_colours_of_the_photo() -> None:
    photo = torch.rand(3, 30, 30, generator=torch.Generator().manual_seed(2)) / 2 + 0.25
    hole = disc(30, 30, (15, 15), 9)
    blended = poisson_blend(photo, photo - 0.2, hole)  # darker all over: nothing of that is left
    torch.testing.assert_close(blended, photo, rtol=0, atol=1e-3)
    assert torch.equal(blended[:, ~hole], photo[:, ~hole])
    other = torch.rand(3, 30, 30)
    assert torch.equal(poisson_blend(photo, other, hole)[:, ~hole], photo[:, ~hole])
    assert poisson_blend(photo, 9 * other, hole).max() <= 1


def test_no_hole_and_nothing_but_hole() -> None:
    values = torch.rand(1, 5, 5)
    assert torch.equal(harmonic(values, torch.zeros(5, 5, dtype=torch.bool)), values)
    with pytest.raises(InputError, match="the hole covers the whole image"):
        harmonic(values, torch.ones(5, 5, dtype=torch.bool))
