from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError
from ppgn.samplers.noise import Noise
from ppgn.samplers.views import Jitter


class Given:
    """A noise source that hands out the draws it was given, (B, views, 3): magnification, vertical, horizontal."""

    def __init__(self, draws: Tensor) -> None:
        self.draws = draws
        self.seeds = tuple(range(len(draws)))

    def normal(self, stream: str, shape: Shape) -> Tensor:
        raise AssertionError("views draw uniformly")

    def uniform(self, stream: str, shape: Shape) -> Tensor:
        assert stream == "jitter"
        assert self.draws.shape[1:] == shape
        return self.draws


def images(batch: int = 2, height: int = 6, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)


def test_without_shift_and_zoom_every_view_is_the_image() -> None:
    x = images()
    views = Jitter(views=3)(x, Noise([1, 2]))
    assert views.shape == (3, 2, 3, 6, 8)
    assert torch.equal(views, x.expand(3, -1, -1, -1, -1))


def test_a_shift_by_whole_pixels_moves_them_and_mirrors_the_edge() -> None:
    x = images(1, 6, 8)
    draws = torch.tensor([[[0.0, 1.0, 0.5], [0.0, 0.5, 0.0]]], dtype=torch.float64)  # down to its end; left to its end
    down, left = Jitter(views=2, shift=0.5)(x, Given(draws))[:, 0]
    torch.testing.assert_close(down, x[0][:, [3, 4, 5, 5, 4, 3], :])
    torch.testing.assert_close(left, x[0][:, :, [3, 2, 1, 0, 0, 1, 2, 3]])


def test_views_are_those_of_grid_sample() -> None:
    x, jitter, noise = images(5, 7, 9), Jitter(views=4, shift=0.2, zoom=1.8), Noise(range(5), dtype=torch.float64)
    draws = Noise(range(5), dtype=torch.float64).uniform("jitter", (4, 3))
    side = 1.8 ** -draws[..., 0]
    centre = (0.2 + (1 - side) / 2)[..., None] * (2 * draws[..., 1:] - 1)
    theta = torch.zeros(5, 4, 2, 3, dtype=torch.float64)
    theta[..., 0, 0], theta[..., 1, 1] = side, side
    theta[..., 0, 2], theta[..., 1, 2] = 2 * centre[..., 1], 2 * centre[..., 0]
    views = jitter(x, noise)
    for view in range(4):
        grid = F.affine_grid(theta[:, view], list(x.shape), align_corners=False)
        expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        torch.testing.assert_close(views[view], expected)


def test_a_magnified_window_stays_inside_the_image_and_reaches_its_edges() -> None:
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 3, 64, 64).contiguous()
    for horizontal, first, last in ((0.0, 0.0, 0.5), (1.0, 0.5, 1.0)):
        draws = torch.tensor([[[1.0, 0.5, horizontal]]], dtype=torch.float64)
        row = Jitter(zoom=2.0)(ramp, Given(draws))[0, 0, 0, 0]
        assert all(a <= b for a, b in pairwise(row.tolist()))
        assert row[0] == pytest.approx(first, abs=0.01)
        assert row[-1] == pytest.approx(last, abs=0.01)


def test_a_seed_sees_its_own_views_in_any_batch() -> None:
    x, jitter = images(3), Jitter(views=2, shift=0.3, zoom=1.5)
    batch = jitter(x, Noise([5, 3, 8], dtype=torch.float64))
    assert torch.equal(batch, jitter(x, Noise([5, 3, 8], dtype=torch.float64)))
    assert torch.equal(batch[:, 1:2], jitter(x[1:2], Noise([3], dtype=torch.float64)))
    same = jitter(x[:1].expand(3, -1, -1, -1), Noise([5, 3, 8], dtype=torch.float64))
    assert len({round(float(view.sum()), 9) for view in same.flatten(0, 1)}) == 6
    noise = Noise([5], dtype=torch.float64)
    assert not torch.allclose(jitter(x[:1], noise), jitter(x[:1], noise))


def test_gradients_flow_through_views() -> None:
    x, jitter = images(2, 4, 5).requires_grad_(), Jitter(views=2, shift=0.3, zoom=1.5)
    assert torch.autograd.gradcheck(lambda x: jitter(x, Noise([1, 2], dtype=torch.float64)), x)
    (gradient,) = torch.autograd.grad(jitter(x, Noise([1, 2], dtype=torch.float64)).sum(), x)
    torch.testing.assert_close(gradient.sum(dim=(1, 2, 3)), torch.full((2,), 2 * 3 * 4 * 5.0, dtype=torch.float64))


def test_views_in_low_precision_look_at_the_same_places() -> None:
    x = torch.linspace(0, 1, 256).expand(2, 3, 256, 256).contiguous()
    jitter = Jitter(views=4, shift=0.1, zoom=1.5)
    exact = jitter(x, Noise([1, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(jitter(x, Noise([1, 2])), exact, rtol=0, atol=0)
    low = jitter(x.bfloat16(), Noise([1, 2]))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, jitter(x.bfloat16().float(), Noise([1, 2])).bfloat16(), rtol=0, atol=0)
    assert torch.allclose(low.float(), exact, rtol=0, atol=2**-8)  # the rounding of numbers up to 1, by x and by views


@pytest.mark.parametrize("options", [{"views": 0}, {"shift": -0.1}, {"zoom": 0.9}])
def test_settings_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected views of 1 or more, shift from 0 up, zoom from 1 up"):
        Jitter(**options)
